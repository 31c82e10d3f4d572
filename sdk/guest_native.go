//go:build !wasip1

package sdk

// Register makes m the plugin's method. Outside of WebAssembly, as in go test, it does nothing:
// package sdktest is given the method.
func Register(Method) {}
