package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The unit is one that systemd takes, and leaves the service little.
func TestSystemdUnit(t *testing.T) {
	needPrograms(t, "systemd-analyze")
	text, err := os.ReadFile(filepath.Join(repository(t), "examples", "systemd", "sallyport.service"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("sallyport")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "sallyport.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/sallyport", program)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil || strings.Contains(string(out), unit) {
		t.Errorf("%v\n%s", err, out)
	}
	const exposure = "20" // tenths; 100 is a service without any of it
	if out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+exposure, unit).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
