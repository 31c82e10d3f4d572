package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/sallyport-ftps/sallyport/host/policy"
)

// mountedIn refuses a folder in which something is mounted: to delete would go on there. proc(5), mountinfo.
func mountedIn(home string) error {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("whether something is mounted in %s is not known: %w", home, err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if policy.Within(point, home) {
			return fmt.Errorf("%s: something is mounted at %s: delete the files by hand", home, point)
		}
	}
	return lines.Err()
}
