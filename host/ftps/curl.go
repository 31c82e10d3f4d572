package ftps

import "time"

// curl is how much of what curl, and nobody else that we know, says after USER was heard in its order. RATIONALE.md, "What is done for curl?".
type curl int

func curlSays() []string { return []string{"PASS", "PBSZ", "PROT", "PWD"} }

func (c *curl) hear(command string) {
	switch says := curlSays(); {
	case c.is():
	case says[*c] == command:
		*c++
	default:
		*c = 0
	}
}

func (c *curl) is() bool { return int(*c) == len(curlSays()) }

// curlPause is how long curl has until it is told of a port.
const curlPause = time.Millisecond
