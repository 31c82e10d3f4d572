package bus

import "golang.org/x/sys/unix"

// freeBytes is how much can still be written to the disk of path, if that can be known.
func freeBytes(path string) (n int64, known bool) {
	var stat unix.Statfs_t
	if unix.Statfs(path, &stat) != nil {
		return 0, false
	}
	return int64(stat.Bavail) * stat.Bsize, true
}
