// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"os/exec"
	"testing"

	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"go.starlark.net/starlark"
)

// askers are shell commands that send the words behind them as one line to the
// socket $MHMIG_SYNC, and print the answer.
var askers = []struct{ program, command string }{
	{"python3", `python3 -c 'import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["MHMIG_SYNC"])
s.sendall((" ".join(sys.argv[1:]) + "\n").encode()); print(s.makefile().readline(), end="")' `},
	{"perl", `perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new($ENV{MHMIG_SYNC}) or die $!; print $s "@ARGV\n"; $s->flush; print <$s> // ""' `},
	{"socat", `f() { echo "$*" | socat -t 60 - UNIX-CONNECT:$MHMIG_SYNC; }; f `},
}

// asker finds the one that there is here.
func asker(t *testing.T) starlark.StringDict {
	t.Helper()
	for _, a := range askers {
		if path, err := exec.LookPath(a.program); err == nil && exec.Command(path, "-h").Run() == nil {
			return starlark.StringDict{"ask": starlark.String(a.command)}
		}
	}
	t.Skip("NOT TESTED: barriers of shells: neither python3 nor perl nor socat is here")
	return nil
}

// Commands on a host take part in the barriers of the task that started them.
func TestShellSync(t *testing.T) {
	t.Parallel()
	ask := asker(t)
	bed := newBed(t, bedtest.NoQEMU(t), 3)
	for _, tt := range []struct{ name, source string }{
		{"barrier and sync with a task", `
def work(host):
    if host.name == "host1":
        assert_eq(host.run(ask + "barrier one").stdout, "ok\n")
        return host.run(ask + "sync two some data").stdout
    barrier("one")
    return {h.name: v for h, v in sync("two", data = 5).items()}

def migration_scenario(env):
    got = on(["host1", "host2"], work)
    assert_eq(got[env.hosts[0]], 'ok {"host1":"some data","host2":"5"}\n')
    assert_eq(got[env.hosts[1]], {"host1": "some data", "host2": 5})
`},
		{"a list that the task changes afterwards", `
def work(host):
    if host.name == "host1":
        for i in range(20):
            got = host.run(ask + "sync x").stdout
            if got != 'ok {"host1":"","host2":"%s"}\n' % " ".join([str(n) for n in range(i)]):
                fail("%d: %s" % (i, got))
        return
    all = []
    for i in range(20):
        sync("x", data = all)
        all.append(i)

def migration_scenario(env):
    on(["host1", "host2"], work)
`},
		{"a list in itself, and none", `
def work(host):
    if host.name == "host1":
        assert_eq(host.run(ask + "sync x").stdout, 'ok {"host1":"","host2":"1 [...]"}\n')
        assert_eq(host.run(ask + "sync y z").stdout, 'ok {"host1":"z","host2":""}\n')
        return
    all = [1]
    all.append(all)
    sync("x", data = all)
    assert_eq({h.name: v for h, v in sync("y").items()}, {"host1": "z", "host2": None})

def migration_scenario(env):
    on(["host1", "host2"], work)
`},
		{"between shells", `
def work(host):
    return host.run(ask + "sync shells %s" % host.facts["cpus"]).stdout.startswith("ok {")

def migration_scenario(env):
    assert_eq(on(env.hosts, work).values(), [True, True, True])
`},
		{"what makes no sense", `
def work(host):
    assert_eq(host.run(ask + "dance").stdout, "error: want: barrier TAG, or: sync TAG DATA\n")
    assert_eq(host.run(ask + "barrier").stdout, "error: want: barrier TAG, or: sync TAG DATA\n")

def migration_scenario(env):
    on(["host1"], work)
`},
		{"a party that has returned", `
def work(host):
    if host.name == "host1":
        answer = host.run(ask + "barrier alone").stdout
        if not answer.startswith("error: barrier alone: cannot complete any more; missing: host2"):
            fail(answer)

def migration_scenario(env):
    on(["host1", "host2"], work)
`},
		{"a started command", `
def work(host):
    p = host.start(ask + "barrier started")
    return p.wait().stdout

def migration_scenario(env):
    assert_eq(on(["host1", "host2"], work).values(), ["ok\n", "ok\n"])
`},
		{"after a spawned task's end", `
def work(host):
    spawn(host.run, "test -S $MHMIG_SYNC").join()
    return host.run(ask + "barrier later").stdout

def migration_scenario(env):
    assert_eq(on(["host1", "host2"], work).values(), ["ok\n", "ok\n"])
`},
		{"no place, no socket", `
def migration_scenario(env):
    run = lambda h: h.run("printenv MHMIG_SYNC", check = False).stdout
    assert_eq(run(env.hosts[0]), "")
    on(["host1"], lambda h: assert_eq(run(env.hosts[1]), ""))
    on(["host1"], lambda h: assert_eq(run(h) == "", False))
`},
		{"the scenario's end ends a shell's wait", `
def work(host):
    host.start(ask + "sync never x")

def migration_scenario(env):
    on(["host1"], work)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, failure := range runOn(t, bed, ask, tt.source).Failures {
				t.Error(failure)
			}
		})
	}
}
