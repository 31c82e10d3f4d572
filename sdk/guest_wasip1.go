//go:build wasip1

package sdk

import (
	"runtime"
	"unsafe"
)

// room is how much a run may allocate before the memory has to grow: a grown memory can't be used again.
const room = 2 << 20

func init() {
	use := make([]byte, room)
	runtime.KeepAlive(use)
	use = nil
	runtime.GC()
}

// registered is the plugin's one method. A guest is one program with one method, and an
// exported function has no other way to find it.
var registered Method

// Register makes m the plugin's method. Call it once, from init.
func Register(m Method) { registered = m }

//go:wasmimport sallyport_1 get
func hostGet(key unsafe.Pointer, keyLen uint32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport sallyport_1 set
func hostSet(key unsafe.Pointer, keyLen uint32, value unsafe.Pointer, valueLen uint32) int32

//go:wasmimport sallyport_1 log
func hostLog(level int32, message unsafe.Pointer, length uint32)

//go:wasmimport sallyport_1 verify
func hostVerify(what unsafe.Pointer, length uint32) int32

//go:wasmimport sallyport_1 http
func hostHTTP() int32

//go:wasmimport sallyport_1 sleep
func hostSleep(milliseconds uint32) int32

//go:wasmimport sallyport_1 ask
func hostAsk() int32

//go:wasmimport sallyport_1 dial
func hostDial(address unsafe.Pointer, length uint32) int32

//go:wasmimport sallyport_1 start_tls
func hostStartTLS(descriptor int32, server unsafe.Pointer, length uint32) int32

//go:wasmexport sallyport_abi_1
func exportMarker() {}

//go:wasmexport authenticate
func exportAuthenticate() int32 {
	if registered == nil {
		wasmHost{}.Log(Error, "the plugin registered no method: call sdk.Register from init")
		return int32(Fail)
	}
	return int32(decide(registered, NewAttempt(wasmHost{})))
}

//go:wasmexport describe
func exportDescribe() { describe(wasmHost{}) }

// wasmHost is the host as seen through the imports.
type wasmHost struct{}

var _ Host = wasmHost{}

func (wasmHost) Get(key string) (string, error) {
	buf := make([]byte, 256)
	for {
		n := hostGet(start(key), uint32(len(key)), unsafe.Pointer(unsafe.SliceData(buf)), uint32(len(buf)))
		if err := CodeError(n); err != nil {
			return "", err
		}
		if int(n) <= len(buf) {
			return string(buf[:n]), nil
		}
		buf = make([]byte, n)
	}
}

func (wasmHost) Set(key, value string) error {
	return CodeError(hostSet(start(key), uint32(len(key)), start(value), uint32(len(value))))
}

func (wasmHost) Log(level Level, message string) {
	hostLog(int32(level), start(message), uint32(len(message)))
}

func (wasmHost) Verify(what string) (int32, error) {
	code := hostVerify(start(what), uint32(len(what)))
	return code, CodeError(code)
}

func (wasmHost) HTTP() (int32, error) {
	status := hostHTTP()
	return status, CodeError(status)
}

func (wasmHost) Sleep(milliseconds uint32) error { return CodeError(hostSleep(milliseconds)) }

func (wasmHost) Ask() (int32, error) {
	answer := hostAsk()
	return answer, CodeError(answer)
}

func (wasmHost) Dial(address string) (int32, error) {
	descriptor := hostDial(start(address), uint32(len(address)))
	return descriptor, CodeError(descriptor)
}

func (wasmHost) StartTLS(descriptor int32, server string) error {
	return CodeError(hostStartTLS(descriptor, start(server), uint32(len(server))))
}

// decide runs what the host asks for: a verdict, or whether the settings are right.
func decide(m Method, a Attempt) Verdict {
	checker, checks := m.(SettingsChecker)
	if !checks || a.text("check") != "settings" {
		return m.Authenticate(a)
	}
	if err := checker.CheckSettings(a); err != nil {
		return a.Fail(err.Error())
	}
	return Unknown
}

func describe(host Host) {
	describer, ok := registered.(Describer)
	if !ok {
		return
	}
	fields := describer.Describe().fields()
	if _, checks := registered.(SettingsChecker); checks {
		fields = append(fields, [2]string{"describe.checks_settings", "true"})
	}
	for _, f := range fields {
		if err := host.Set(f[0], f[1]); err != nil {
			host.Log(Error, f[0]+": "+err.Error())
		}
	}
}

func start(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }
