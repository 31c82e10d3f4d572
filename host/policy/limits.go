package policy

import (
	"strconv"
	"strings"
)

// Limits bound what one user moves and keeps.
type Limits struct {
	UploadRate   int64 `json:"upload_rate,omitempty"`   // bytes a second, over all sessions
	DownloadRate int64 `json:"download_rate,omitempty"` // bytes a second, over all sessions
	Bytes        int64 `json:"bytes,omitempty"`         // in the home folder
	Files        int64 `json:"files,omitempty"`         // in the home folder
}

// Unlimited in place of a number is no bound; 0 is as the group says, and in a group no bound.
const Unlimited = -1

// Or is each limit, or where none is said that of others.
func (l Limits) Or(others Limits) Limits {
	pick := func(own, other int64) int64 {
		switch own {
		case 0:
			return other
		case Unlimited:
			return 0
		}
		return own
	}
	return Limits{
		UploadRate: pick(l.UploadRate, others.UploadRate), DownloadRate: pick(l.DownloadRate, others.DownloadRate),
		Bytes: pick(l.Bytes, others.Bytes), Files: pick(l.Files, others.Files),
	}
}

// ParseSize reads a number of bytes, such as "500MiB", up to a pebibyte.
func ParseSize(text string) (n int64, ok bool) {
	for _, unit := range []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}} {
		digits, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err == nil && n >= 0 && n <= (1<<50)/unit.factor {
			return n * unit.factor, true
		}
	}
	return 0, false
}
