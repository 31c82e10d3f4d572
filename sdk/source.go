//go:build !wasip1

package sdk

import "embed"

// The SDKs themselves, for projects that bring their own copy.
//
//go:embed *.go sdktest sdknet sdkhttp c rust assemblyscript ABI.md
var files embed.FS

// Files are the SDKs of all languages: Go in this folder, the others in c, rust and assemblyscript.
func Files() embed.FS { return files }
