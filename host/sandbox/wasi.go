package sandbox

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// wasiModule is the WASI that compilers of Go, Rust and C target (preview 1).
const wasiModule = "wasi_snapshot_preview1"

// errno of WASI.
type errno uint32

const (
	errnoSuccess  errno = 0
	errnoAgain    errno = 6
	errnoBadF     errno = 8
	errnoConn     errno = 15 // the connection was reset
	errnoInval    errno = 28
	errnoNoSys    errno = 52
	errnoNotConn  errno = 53
	errnoFault    errno = 21
	filetypeChar  byte  = 2
	filetypeDgram byte  = 5
	filetypeSock  byte  = 6
)

// wasiFunction is one function: its parameters by letter (see signature), and what it does. All
// but proc_exit return an errno.
type wasiFunction struct {
	params string
	call   func(g *guest, a arguments) errno
}

// wasiFunctions is a minimal WASI: clock, randomness, sleeping, output to the log, sockets that dial
// made; no files, arguments, environment. It keeps nothing that a run could leave to the next.
func wasiFunctions() map[string]wasiFunction {
	noFile := func(params string) wasiFunction {
		return wasiFunction{params, func(*guest, arguments) errno { return errnoBadF }}
	}
	none := func(params string) wasiFunction {
		return wasiFunction{params, func(*guest, arguments) errno { return errnoNoSys }}
	}
	empty := wasiFunction{"ii", func(_ *guest, a arguments) errno {
		return both(a.memory.WriteUint32Le(a.u32(0), 0), a.memory.WriteUint32Le(a.u32(1), 0))
	}}
	nothing := wasiFunction{"ii", func(*guest, arguments) errno { return errnoSuccess }}
	return map[string]wasiFunction{
		"args_get": nothing, "args_sizes_get": empty, "environ_get": nothing, "environ_sizes_get": empty,
		"clock_res_get":  {"ii", wasiClockRes},
		"clock_time_get": {"iIi", wasiClockTime},
		"random_get":     {"ii", wasiRandom},
		"sched_yield":    {"", func(*guest, arguments) errno { return errnoSuccess }},
		"poll_oneoff":    {"iiii", wasiPoll},

		"fd_write":            {"iiii", wasiWrite},
		"fd_read":             {"iiii", wasiRead},
		"fd_close":            {"i", wasiClose},
		"fd_fdstat_get":       {"ii", wasiFdstat},
		"fd_fdstat_set_flags": {"ii", wasiSetFlags},
		"sock_recv":           {"iiiiii", wasiReceive},
		"sock_send":           {"iiiii", wasiSend},
		"sock_shutdown":       {"ii", wasiShutdown},
		"sock_accept":         none("iii"),

		"fd_advise": noFile("iIIi"), "fd_allocate": noFile("iII"), "fd_datasync": noFile("i"), "fd_fdstat_set_rights": noFile("iII"),
		"fd_filestat_get": noFile("ii"), "fd_filestat_set_size": noFile("iI"), "fd_filestat_set_times": noFile("iIIi"),
		"fd_pread": noFile("iiiIi"), "fd_prestat_get": noFile("ii"), "fd_prestat_dir_name": noFile("iii"), "fd_pwrite": noFile("iiiIi"),
		"fd_readdir": noFile("iiiIi"), "fd_renumber": noFile("ii"), "fd_seek": noFile("iIii"), "fd_sync": noFile("i"), "fd_tell": noFile("ii"),
		"path_create_directory": noFile("iii"), "path_filestat_get": noFile("iiiii"), "path_filestat_set_times": noFile("iiiiIIi"),
		"path_link": noFile("iiiiiii"), "path_open": noFile("iiiiiIIii"), "path_readlink": noFile("iiiiii"), "path_remove_directory": noFile("iii"),
		"path_rename": noFile("iiiiii"), "path_symlink": noFile("iiiii"), "path_unlink_file": noFile("iii"),
		"proc_raise": none("i"),
	}
}

func (f wasiFunction) module() api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		g, a := guestOf(ctx), arguments{stack, m.Memory()}
		if a.memory == nil {
			g.fail(sys.NewExitError(1))
		}
		result := f.call(g, a)
		if len(stack) > 0 {
			stack[0] = uint64(result)
		}
	}
}

// exit is proc_exit. Whatever its code, it is no verdict.
func exit(ctx context.Context, m api.Module, stack []uint64) {
	code := uint32(stack[0])
	_ = m.CloseWithExitCode(ctx, code)
	panic(sys.NewExitError(code))
}

func both(oks ...bool) errno {
	for _, ok := range oks {
		if !ok {
			return errnoFault
		}
	}
	return errnoSuccess
}

func wasiClockRes(_ *guest, a arguments) errno {
	if a.u32(0) > 1 {
		return errnoInval
	}
	return both(a.memory.WriteUint64Le(a.u32(1), uint64(time.Millisecond)))
}

// wasiClockTime shows a clock that stands while the guest runs: it moves by its sleeps, and to the
// time of each of the host's answers.
func wasiClockTime(g *guest, a arguments) errno {
	var ns int64
	switch a.u32(0) {
	case 0:
		ns = g.wall.Add(g.time()).UnixNano()
	case 1:
		ns = int64(g.mono + g.time())
	default:
		return errnoInval
	}
	return both(a.memory.WriteUint64Le(a.u32(2), uint64(ns)))
}

func wasiRandom(g *guest, a arguments) errno {
	view, ok := a.memory.Read(a.u32(0), a.u32(1))
	if !ok {
		return errnoFault
	}
	g.calls.note("random")
	g.random(view)
	return errnoSuccess
}

// vectors returns the pieces of memory of a list of (pointer, length).
func (a arguments) vectors(at, count uint32) ([][]byte, errno) {
	if count > maxPolls {
		return nil, errnoInval
	}
	var pieces [][]byte
	for n := range count {
		header, ok := a.memory.Read(at+8*n, 8)
		if !ok {
			return nil, errnoFault
		}
		piece, ok := a.memory.Read(binary.LittleEndian.Uint32(header), binary.LittleEndian.Uint32(header[4:]))
		if !ok {
			return nil, errnoFault
		}
		pieces = append(pieces, piece)
	}
	return pieces, errnoSuccess
}

func wasiWrite(g *guest, a arguments) errno {
	descriptor := int32(a.u32(0))
	pieces, e := a.vectors(a.u32(1), a.u32(2))
	if e != errnoSuccess {
		return e
	}
	written := 0
	for _, piece := range pieces {
		n, e := g.write(descriptor, piece)
		written += n
		if e != errnoSuccess {
			if written > 0 {
				break
			}
			return e
		}
		if n < len(piece) || written >= maxWrite {
			break
		}
	}
	return both(a.memory.WriteUint32Le(a.u32(3), uint32(written)))
}

func (g *guest) write(descriptor int32, p []byte) (int, errno) {
	if s := g.sockets[descriptor]; s != nil {
		return s.send(g, p)
	}
	if descriptor != 1 && descriptor != 2 {
		return 0, errnoBadF
	}
	p = p[:min(len(p), maxWrite)]
	g.calls.note("write", string(p))
	g.print(descriptor, p)
	return len(p), errnoSuccess
}

func wasiRead(g *guest, a arguments) errno {
	pieces, e := a.vectors(a.u32(1), a.u32(2))
	if e != errnoSuccess {
		return e
	}
	s := g.sockets[int32(a.u32(0))]
	if s == nil {
		return errnoBadF
	}
	n, e := s.receive(g, pieces)
	if e != errnoSuccess {
		return e
	}
	return both(a.memory.WriteUint32Le(a.u32(3), uint32(n)))
}

func wasiReceive(g *guest, a arguments) errno {
	if e := wasiRead(g, arguments{append(a.stack[:3:3], a.stack[4]), a.memory}); e != errnoSuccess {
		return e
	}
	return both(a.memory.WriteUint16Le(a.u32(5), 0))
}

func wasiSend(g *guest, a arguments) errno {
	return wasiWrite(g, arguments{append(a.stack[:3:3], a.stack[4]), a.memory})
}

func wasiShutdown(g *guest, a arguments) errno {
	s := g.sockets[int32(a.u32(0))]
	if s == nil {
		return errnoBadF
	}
	return s.shutdown()
}

func wasiClose(g *guest, a arguments) errno {
	descriptor := int32(a.u32(0))
	s := g.sockets[descriptor]
	if s == nil {
		return errnoBadF // the standard ones stay open
	}
	delete(g.sockets, descriptor)
	g.clock.outside(g.ctx, s.close)
	return errnoSuccess
}

func wasiFdstat(g *guest, a arguments) errno {
	var stat [24]byte
	switch s := g.sockets[int32(a.u32(0))]; {
	case s != nil && s.datagrams:
		stat[0] = filetypeDgram
	case s != nil:
		stat[0] = filetypeSock
	case a.u32(0) <= 2:
		stat[0] = filetypeChar
	default:
		return errnoBadF
	}
	if s := g.sockets[int32(a.u32(0))]; s != nil && !s.blocks {
		stat[2] = flagNonBlock
	}
	for i := 8; i < 24; i++ {
		stat[i] = 0xff // all rights
	}
	return both(a.memory.Write(a.u32(1), stat[:]))
}

const flagNonBlock = 4

func wasiSetFlags(g *guest, a arguments) errno {
	s := g.sockets[int32(a.u32(0))]
	switch {
	case s != nil:
		s.blocks = a.u32(1)&flagNonBlock == 0
	case a.u32(0) > 2:
		return errnoBadF
	}
	return errnoSuccess
}
