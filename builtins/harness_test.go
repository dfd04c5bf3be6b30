// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/jeos/jeostest"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/pool"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/stdlib"
)

// testLab is three hosts of an embedded lab. All tests of the package share one, each
// with its own folders.
type testLab struct {
	lab    *lab.Lab
	hosts  []*host.Host
	states *testbed.States // of guests
}

var (
	openLab = sync.OnceValues(newLab)
	opened  *testLab // set by openLab, for closeLab
)

func newLab() (*testLab, error) {
	ctx := context.Background() // it outlives the first test
	s := &testLab{}
	opened = s
	var err error
	s.lab, err = lab.Start(ctx, lab.Options{Hosts: 3}) // in the cache: the next lab removes remains of killed tests
	if err != nil {
		return nil, err
	}
	s.states = &testbed.States{Dir: s.lab.State().States}
	for _, c := range s.lab.Hosts() {
		h, err := host.Dial(ctx, c, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		s.hosts = append(s.hosts, h)
	}
	return s, nil
}

func closeLab() error {
	if opened == nil {
		return nil
	}
	var errs []error
	for _, h := range opened.hosts {
		errs = append(errs, h.Close())
	}
	if opened.lab != nil {
		errs = append(errs, opened.lab.Close())
	}
	return errors.Join(errs...)
}

// testRun is one run of a scenario for one variant, with its options.
type testRun struct {
	source string           // the scenario's text
	file   string           // its name in positions; "": scenario.star
	params cartesian.Params // of the variant, overriding the base
	hosts  []*host.Host     // nil: the first two of the lab
	// on is called with each record of the log.
	on func(message string, at map[string]string, p *testRun)
	// extra are additional predeclared names.
	extra starlark.StringDict
	// shipped are mhmig's own files by their names, such as jeos:bzimage.
	shipped map[string]string
	// left says that files and processes may remain on the hosts: the test removes them.
	left bool
	// kept is where saved states of guests are kept; nil: with those of all tests.
	kept *testbed.States
	// debug has the debugging options.
	debug builtins.Options

	bed    *testbed.Bed // set when the scenario begins
	cancel context.CancelCauseFunc
}

// ended is how a run ended.
type ended struct {
	result.Outcome
	name   string // of the variant's folders on the hosts
	dir    string // the variant's results
	log    string // log.txt
	runErr error  // of run.Variants
}

// runScenario runs the scenario in the lab and checks that nothing remains there.
func runScenario(t testing.TB, base cartesian.Params, p *testRun) ended {
	t.Helper()
	s, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	if p.hosts == nil {
		p.hosts = s.hosts[:2]
	}
	params := maps.Clone(base)
	maps.Copy(params, p.params)
	scenario := p.load(t)

	folder, record := bedtest.Results(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	p.cancel = cancel
	log := slog.New(slog.NewMultiHandler(folder.Handler(), &listener{run: p}))
	variant := func(yield func(*cartesian.Variant, error) bool) {
		yield(&cartesian.Variant{Name: "test." + t.Name(), ShortName: "test", Params: params}, nil)
	}
	hosts, err := pool.NewLocal(ctx, testbed.Remotes(p.hosts), false)
	if err != nil {
		t.Fatal(err)
	}
	_, runErr := run.Variants(ctx, run.Options{
		Pool: hosts, ScenarioHosts: func(cartesian.Params) int { return len(p.hosts) }, HostParams: s.lab.Params(), States: p.states(s), Results: folder, Ledger: record, Log: log,
		Shipped: func(name string) (string, error) {
			if file := p.shipped[name]; file != "" {
				return file, nil
			}
			return "", fmt.Errorf("no file %s", name)
		},
		Scenario: func(ctx context.Context, bed *testbed.Bed) run.Verdict {
			p.bed = bed
			return builtins.Run(ctx, bed, scenario, p.debug)
		},
	}, iter.Seq2[*cartesian.Variant, error](variant))
	_, outcomes, err := result.Load(folder.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if len(outcomes) != 1 {
		t.Fatalf("got %d outcomes, want one: %v", len(outcomes), runErr)
	}
	e := ended{
		Outcome: outcomes[0], runErr: runErr, dir: filepath.Join(folder.Dir(), "001-test"),
		name: "mhmig-" + folder.ID()[strings.LastIndexByte(folder.ID(), '-')+1:] + "-1",
	}
	text, err := os.ReadFile(filepath.Join(e.dir, result.LogFile))
	if err != nil {
		t.Error(err)
	}
	e.log = string(text)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("outcome: %s %s\nfurther: %+v\n%s\nlog:\n%s", e.Status, e.Message, e.Further, e.Evidence, e.log)
		}
	})
	if !p.left {
		bedtest.WantNothingLeft(t, s.lab.Params(), e.name)
		if pending := record.Pending(); len(pending) > 0 {
			t.Errorf("the ledger still has %+v", pending)
		}
	}
	return e
}

// states is where guests' saved states are: those that all tests share, unless the
// run has a folder of its own.
func (p *testRun) states(l *testLab) *testbed.States {
	if p.kept != nil {
		return p.kept
	}
	return l.states
}

// load loads the scenario with the builtins of the tests.
func (p *testRun) load(t testing.TB) *star.Scenario {
	t.Helper()
	scenario, err := p.tryLoad(t)
	if err != nil {
		t.Fatal(err)
	}
	return scenario
}

func (p *testRun) tryLoad(t testing.TB) (*star.Scenario, error) {
	t.Helper()
	predeclared, err := builtins.Predeclared()
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(predeclared, starlark.StringDict{
		"assert_eq": starlark.NewBuiltin("assert_eq", assertEqual),
		"kill":      starlark.NewBuiltin("kill", p.kill),
	})
	maps.Copy(predeclared, p.extra)
	if p.file == "" {
		p.file = "scenario.star"
	}
	files := fstest.MapFS{p.file: {Data: []byte(p.source)}, "data.txt": {Data: []byte("of the scenario\n")}}
	loader := &star.Loader{Predeclared: predeclared, Libraries: library.Set{"std": stdlib.FS, "test": files}}
	return loader.Scenario(t.Context(), "@test//"+p.file)
}

func assertEqual(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var got, want starlark.Value
	if err := starlark.UnpackPositionalArgs(b.Name(), args, kwargs, 2, &got, &want); err != nil {
		return nil, err
	}
	same, err := starlark.Equal(got, want)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, fmt.Errorf("got %v, want %v", got, want)
	}
	return starlark.None, nil
}

// kill is kill(vm, host, signal=9): it sends a signal to the VM's QEMU.
func (p *testRun) kill(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var vm, hostName string
	signal := int(syscall.SIGKILL)
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "vm", &vm, "host", &hostName, "signal?", &signal); err != nil {
		return nil, err
	}
	return starlark.None, p.signal(vm, hostName, syscall.Signal(signal))
}

// signal sends a signal to a VM's QEMU; the lab's hosts are on this machine.
func (p *testRun) signal(vm, hostName string, signal syscall.Signal) error {
	pid, err := os.ReadFile(filepath.Join(p.bed.Host(hostName).RunDir(), vm+".pid"))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		return err
	}
	return syscall.Kill(n, signal)
}

// listener calls on for each record of a run's log.
type listener struct {
	run   *testRun
	attrs []slog.Attr
}

func (l *listener) Enabled(context.Context, slog.Level) bool { return l.run.on != nil }
func (l *listener) WithGroup(string) slog.Handler            { return l }

func (l *listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &listener{l.run, append(slices.Clone(l.attrs), attrs...)}
}

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	at := map[string]string{}
	for _, a := range l.attrs {
		at[a.Key] = a.Value.String()
	}
	for a := range r.Attrs {
		at[a.Key] = a.Value.String()
	}
	l.run.on(r.Message, at, l.run)
	return nil
}

// want checks how a run ended: its status, and substrings of the first failure's
// message (none: it must be empty).
func (e ended) want(t testing.TB, status result.Status, words ...string) {
	t.Helper()
	if e.Status != status {
		t.Errorf("status: got %s (%s), want %s", e.Status, e.Message, status)
	}
	if e.runErr != nil && !errors.Is(e.runErr, run.ErrInterrupted) {
		t.Errorf("the run: %v", e.runErr)
	}
	if len(words) == 0 && e.Message != "" {
		t.Errorf("message: got %q, want none", e.Message)
	}
	for _, w := range words {
		if !strings.Contains(e.Message, w) {
			t.Errorf("message: got %q, want %q in it", e.Message, w)
		}
	}
	for _, f := range e.Further {
		t.Errorf("further failure: %s %s", f.Status, f.Message)
	}
}

// wantEvidence checks substrings of the first failure's evidence.
func (e ended) wantEvidence(t *testing.T, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(e.Evidence, w) {
			t.Errorf("evidence: got\n%s\nwant %q in it", e.Evidence, w)
		}
	}
}

// wantLog checks substrings of the log.
func (e ended) wantLog(t *testing.T, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(e.log, w) {
			t.Errorf("log: want %q in it", w)
		}
	}
}

// small is the params of VMs with JeOS and little memory.
func small(t testing.TB) cartesian.Params {
	t.Helper()
	bedtest.NeedQEMU(t)
	image := jeostest.Image(t)
	params := shipped(t)
	maps.Copy(params, cartesian.Params{
		"vms": "vm1", "accel": "tcg", "mem": "96", "images": "", "login_timeout": "300", "mig_timeout": "300",
		"kernel": image.Kernel, "initrd": image.Initrd,
	})
	if params["password"] != jeos.Password {
		t.Fatalf("the config's password for JeOS is %q, its own is %q", params["password"], jeos.Password)
	}
	if params["kernel_params"] != jeos.KernelParams {
		t.Fatalf("the config's kernel_params for JeOS are %q, its own are %q", params["kernel_params"], jeos.KernelParams)
	}
	return params
}

// shipped is the params of mhmig's default config.
func shipped(t testing.TB) cartesian.Params {
	t.Helper()
	config, err := cartesian.ParseFS(stdlib.FS, stdlib.DefaultConfig, "only JeOS")
	if err != nil {
		t.Fatal(err)
	}
	for v, err := range config.Variants(t.Context(), cartesian.Options{Defaults: true}) {
		if err != nil {
			t.Fatal(err)
		}
		return v.Params
	}
	t.Fatal("no variant")
	return nil
}

// awaitTimeout is for waits of a test outside of a scenario.
const awaitTimeout = time.Minute

// allHosts returns the lab's three hosts.
func allHosts(t *testing.T) []*host.Host {
	t.Helper()
	s, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	return s.hosts
}
