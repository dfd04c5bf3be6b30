// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/fake"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
)

// row is a function of the test language, or a method of one of its values: what mhmig
// doc says, and what it does.
type row struct {
	api.Builtin
	do func(*call) (starlark.Value, error)
}

// call is one call of a row.
type call struct {
	test   *test
	self   string // the VM or host
	name   string // in errors: fake.vm.hangs
	at     string
	text   string // as the test has it
	args   starlark.Tuple
	kwargs []starlark.Tuple
}

// unpack assigns the arguments to variables, in the order of the row's parameters.
func (c *call) unpack(pairs ...any) error {
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		names = append(names, strings.TrimRight(pairs[i].(string), "?"))
	}
	for _, kv := range c.kwargs {
		name := string(kv[0].(starlark.String))
		if near := diag.Nearest(name, names); near != "" && !slices.Contains(names, name) {
			return fmt.Errorf("%s: no parameter %s; did you mean %s?", c.name, name, near)
		}
	}
	return starlark.UnpackArgs(c.name, c.args, c.kwargs, pairs...)
}

// builtin makes a row callable.
func (r *row) builtin(name, self string) *starlark.Builtin {
	return star.Guarded(starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := testOf(thread)
		if t == nil {
			return nil, fmt.Errorf("%s: only inside a function test_*, not while the file is loaded", name)
		}
		c := &call{test: t, self: self, name: name, at: position(thread), args: args, kwargs: kwargs}
		c.text = c.describe()
		v, err := r.do(c)
		if err != nil || v != nil {
			return v, err
		}
		return starlark.None, nil
	}))
}

// describe is the call as the test has it.
func (c *call) describe() string {
	var parts []string
	for _, a := range c.args {
		parts = append(parts, a.String())
	}
	for _, kv := range c.kwargs {
		parts = append(parts, string(kv[0].(starlark.String))+"="+kv[1].String())
	}
	owner := c.name
	if c.self != "" {
		kind, method, _ := strings.Cut(strings.TrimPrefix(c.name, "fake."), ".")
		owner = fmt.Sprintf("fake.%s(%q).%s", kind, c.self, method)
	}
	return owner + "(" + strings.Join(parts, ", ") + ")"
}

// value is a value with methods, and nothing else.
type value struct {
	kind string // fake, expect, fake.vm, fake.host
	self string
	rows []*row
}

var _ starlark.HasAttrs = (*value)(nil)

func (v *value) String() string        { return strings.TrimSpace(v.kind + " " + v.self) }
func (v *value) Type() string          { return v.kind }
func (v *value) Freeze()               {}
func (v *value) Truth() starlark.Bool  { return true }
func (v *value) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: %s", v.kind) }

// Attr returns the method of that name, nil if there is none.
func (v *value) Attr(name string) (starlark.Value, error) {
	for _, r := range v.rows {
		if r.Name == name {
			return r.builtin(v.kind+"."+name, v.self), nil
		}
	}
	return nil, nil
}

// AttrNames returns the names of the methods.
func (v *value) AttrNames() []string {
	var names []string
	for _, r := range v.rows {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

// moment are the arguments that say when a fault happens.
type moment struct {
	at, after string
	percent   int
	time      seconds
	migration int
}

// arguments are the moment's, for unpack.
func (m *moment) arguments() []any {
	return []any{"at?", &m.at, "after?", &m.after, "percent?", &m.percent, "time?", &m.time, "migration?", &m.migration}
}

// when is the moment; otherwise is what holds if none was given.
func (m *moment) when(name string, otherwise fake.When) (fake.When, error) {
	given := 0
	for _, is := range []bool{m.at != "", m.after != "", m.percent != 0, m.time != 0} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return fake.When{}, fmt.Errorf("%s: got %d moments, want one of at, after, percent and time", name, given)
	case m.migration < 0 || m.migration > 0 && m.time != 0:
		return fake.When{}, fmt.Errorf("%s: migration: got %d, want the number of a migration, from 1, and no time", name, m.migration)
	case given == 0 && m.migration > 0 && otherwise == fake.When{}:
		return fake.When{}, fmt.Errorf("%s: migration: want at, after or percent with it", name)
	case given == 0:
		otherwise.Migration = m.migration
		return otherwise, nil
	case m.percent < 0 || m.percent > 100:
		return fake.When{}, fmt.Errorf("%s: percent: got %d, want 1 to 100", name, m.percent)
	case m.time < 0:
		return fake.When{}, fmt.Errorf("%s: time: got %v, want more than 0", name, time.Duration(m.time))
	}
	steps := migration.Steps()
	for param, step := range map[string]string{"at": m.at, "after": m.after} {
		if step == "" || slices.Contains(steps, step) {
			continue
		}
		err := fmt.Errorf("%s: %s: a migration has no step %s, only %s", name, param, step, strings.Join(steps, ", "))
		if near := diag.Nearest(step, steps); near != "" {
			err = fmt.Errorf("%s: %s: a migration has no step %s; did you mean %s?", name, param, step, near)
		}
		return fake.When{}, err
	}
	return fake.When{At: m.at, After: m.after, Percent: m.percent, Time: time.Duration(m.time), Migration: m.migration}, nil
}

// midway is the moment of faults of a migration for which the test names none.
var midway = fake.When{Percent: 50}

// side checks the argument on.
func (c *call) side(on string) error {
	if sides := []string{"", "source", "destination"}; !slices.Contains(sides, on) {
		err := fmt.Errorf("%s: on: got %q, want source or destination", c.name, on)
		if near := diag.Nearest(on, sides[1:]); near != "" {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		}
		return err
	}
	return nil
}

// fault adds a fault of the VM.
func (c *call) fault(m moment, otherwise fake.When, side string, do func(*fake.World, *fake.Fault)) error {
	when, err := m.when(c.name, otherwise)
	if err == nil {
		err = c.side(side)
	}
	if err != nil {
		return err
	}
	f := &fake.Fault{Text: c.text, When: when, Side: side, Do: do}
	if strings.HasPrefix(c.name, "fake.host") {
		f.Host = c.self
	} else {
		f.VM = c.self
	}
	c.test.faults = append(c.test.faults, &declared{f, c.at})
	return nil
}

// settings are the guest's, to be changed.
func (c *call) settings() *fake.Guest {
	s := c.test.settings
	if s[c.self] == nil {
		own := fake.DefaultGuest
		s[c.self] = &own
	}
	return s[c.self]
}

// simple is a row for a fault that has a moment and nothing else.
func simple(name, doc string, otherwise fake.When, do func(*fake.World, *fake.Fault)) *row {
	return &row{api.Builtin{Name: name, Doc: doc, Params: moments(otherwise), Returns: none}, func(c *call) (starlark.Value, error) {
		var m moment
		if err := c.unpack(m.arguments()...); err != nil {
			return nil, err
		}
		return nil, c.fault(m, otherwise, "", do)
	}}
}

// sided is a row for a fault of a QEMU, of either side.
func sided(name, doc string, do func(*fake.World, *fake.Fault)) *row {
	return &row{api.Builtin{Name: name, Doc: doc, Params: append([]api.Parameter{onParam}, moments(midway)...), Returns: none}, func(c *call) (starlark.Value, error) {
		var m moment
		var on string
		if err := c.unpack(append([]any{"on?", &on}, m.arguments()...)...); err != nil {
			return nil, err
		}
		return nil, c.fault(m, midway, on, do)
	}}
}

// Parts of the rows.
var (
	none    = api.Return{Type: "None"}
	onParam = optional("on", "string", "source or destination", `""`, "source or destination: the QEMU of that role; without it the one that the guest is in")
)

func required(name, kind, wants, doc string) api.Parameter {
	return api.Parameter{Name: name, Type: kind, Wants: wants, Doc: doc}
}

func optional(name, kind, wants, def, doc string) api.Parameter {
	return api.Parameter{Name: name, Type: kind, Wants: wants, Optional: true, Default: def, Doc: doc}
}

// moments are the parameters that say when a fault happens.
func moments(otherwise fake.When) []api.Parameter {
	without := "without any of these: as early as possible"
	switch {
	case otherwise.Percent > 0:
		without = fmt.Sprintf("without any of these: percent = %d", otherwise.Percent)
	case otherwise.At != "":
		without = "without any of these: at = " + otherwise.At
	}
	return []api.Parameter{
		optional("at", "string", "string", `""`, "when a migration begins this step (see migrate)"),
		optional("after", "string", "string", `""`, "when a migration has ended this step"),
		optional("percent", "int", "int", "0", "when so much of the memory that the guest uses was sent"),
		optional("time", "int | float | string", "seconds", "0", "when so many seconds of the run have passed; "+without),
		optional("migration", "int", "int", "0", "only in the migration of this number, from 1; with percent, that of the VM"),
	}
}

// vmRows are the methods of fake.vm(NAME).
func vmRows() []*row {
	return []*row{
		{api.Builtin{
			Name: "fail_at", Doc: "The connection of its migration breaks.", Returns: none,
			Params: []api.Parameter{
				optional("percent", "int", "int", "50", "when so much of the memory that the guest uses was sent"),
				optional("migration", "int", "int", "0", "only in the VM's migration of this number, from 1"),
			},
		}, func(c *call) (starlark.Value, error) {
			m := moment{percent: midway.Percent}
			if err := c.unpack("percent?", &m.percent, "migration?", &m.migration); err != nil {
				return nil, err
			}
			if m.percent == 0 {
				return nil, fmt.Errorf("%s: percent: got 0, want 1 to 100", c.name)
			}
			return nil, c.fault(m, midway, "", fake.BreakMigration)
		}},
		sided("hangs", "Its QEMU stops answering, as one that SIGSTOP has stopped.", fake.Hang),
		sided("dies", "Its QEMU is killed.", fake.Die),
		sided("pauses", "Somebody stops its guest: QMP's stop.", fake.Pause),
		{api.Builtin{
			Name: "event", Doc: "Its QEMU sends an event that has no other effect.", Returns: none,
			Params: append([]api.Parameter{
				required("name", "string", "string", "the event, such as BLOCK_IO_ERROR"), optional("data", "dict[string, any]", "dict", "{}", "what it says"), onParam,
			}, moments(midway)...),
		}, vmEvent},
		{api.Builtin{
			Name: "reply", Doc: "Its QEMU answers a QMP command as the test says, and does nothing.", Returns: none,
			Params: []api.Parameter{
				required("command", "string", "string", "the command, such as migrate"), optional("result", "any", "a value that JSON has", "{}", "the answer"),
				optional("error", "string", "string", `""`, "the description of an error (GenericError), instead of an answer"),
				optional("times", "int", "int", "0", "how often; 0: always"), onParam,
			},
		}, vmReply},
		{api.Builtin{Name: "never_converges", Doc: "Its guest writes memory faster than any network carries it.", Returns: none}, func(c *call) (starlark.Value, error) {
			if err := c.unpack(); err != nil {
				return nil, err
			}
			s := c.settings()
			s.Dirty, s.Used, s.Busy = 1<<40, max(s.Used, 64<<20), 48<<20
			if s.Link == 0 {
				s.Link = 100 << 20
			}
			return nil, nil
		}},
		{api.Builtin{
			Name: "slow", Doc: "The network carries little of its migration.", Returns: none,
			Params: []api.Parameter{required("bandwidth", "int | string", "bytes per second, or text such as 2M", "how much per second")},
		}, func(c *call) (starlark.Value, error) {
			var bandwidth size
			if err := c.unpack("bandwidth", &bandwidth); err != nil {
				return nil, err
			}
			if bandwidth <= 0 {
				return nil, fmt.Errorf("%s: bandwidth: got %d, want more than 0", c.name, int64(bandwidth))
			}
			c.settings().Link = float64(bandwidth)
			return nil, nil
		}},
		{api.Builtin{
			Name: "memory", Doc: "What its guest does with its memory, besides workloads.", Returns: none,
			Params: []api.Parameter{
				optional("used", "int | string", "bytes, or text such as 24M", `"24M"`, "how much is not zero"), optional("dirty", "int | string", "bytes, or text such as 1M", `"64K"`, "how much it writes per second"),
			},
		}, func(c *call) (starlark.Value, error) {
			s := c.settings()
			used, dirty := size(s.Used), size(s.Dirty)
			if err := c.unpack("used?", &used, "dirty?", &dirty); err != nil {
				return nil, err
			}
			s.Used, s.Dirty = int64(used), float64(dirty)
			return nil, nil
		}},
		{api.Builtin{
			Name: "worker_dies", Doc: "A workload of its guest is killed.", Returns: none,
			Params: append([]api.Parameter{optional("work", "string", "memwork, diskwork or cpuwork", `"memwork"`, "which one")}, moments(fake.When{})...),
		}, func(c *call) (starlark.Value, error) {
			var m moment
			work := "memwork"
			if err := c.unpack(append([]any{"work?", &work}, m.arguments()...)...); err != nil {
				return nil, err
			}
			if works := []string{"memwork", "diskwork", "cpuwork"}; !slices.Contains(works, work) {
				err := fmt.Errorf("%s: work: got %q, want memwork, diskwork or cpuwork", c.name, work)
				if near := diag.Nearest(work, works); near != "" {
					err = fmt.Errorf("%w; did you mean %s?", err, near)
				}
				return nil, err
			}
			return nil, c.fault(m, fake.When{}, "", fake.KillWorker(work))
		}},
		simple("memory_changed", "A byte of the memory that memwork verifies is changed.", fake.When{}, fake.ChangeMemory),
		{api.Builtin{Name: "page_lost", Doc: "A migration loses a page of its guest's memory, although it completes: what memory_proof is there to find.", Params: moments(fake.When{}), Returns: none}, func(c *call) (starlark.Value, error) {
			var m moment
			if err := c.unpack(m.arguments()...); err != nil {
				return nil, err
			}
			return nil, c.fault(m, fake.When{}, "destination", fake.LosePage)
		}},
		simple("write_lost", "A write to the disk that diskwork verifies is lost.", fake.When{}, fake.LoseWrite),
		{api.Builtin{
			Name: "clock_jumps", Doc: "Its guest's clock jumps.", Returns: none,
			Params: append([]api.Parameter{required("by", "int | float | string", "seconds", "how far ahead; below 0: back")}, moments(midway)...),
		}, func(c *call) (starlark.Value, error) {
			var m moment
			var by seconds
			if err := c.unpack(append([]any{"by", &by}, m.arguments()...)...); err != nil {
				return nil, err
			}
			return nil, c.fault(m, midway, "", fake.JumpClock(time.Duration(by)))
		}},
		simple("clock_stops", "Its guest's clock stops.", midway, fake.StopClock),
		simple("reboots", "Its guest reboots by itself.", midway, fake.Reboot),
		simple("panics", "Its guest's kernel panics.", midway, fake.Panic),
		{api.Builtin{
			Name: "runs", Doc: "Its guest runs a shell command that the scenario has not asked for.", Returns: none,
			Params: append([]api.Parameter{required("command", "string", "string", "of the fake shell")}, moments(midway)...),
		}, func(c *call) (starlark.Value, error) {
			var m moment
			var command string
			if err := c.unpack(append([]any{"command", &command}, m.arguments()...)...); err != nil {
				return nil, err
			}
			return nil, c.fault(m, midway, "", fake.Run(command))
		}},
		{api.Builtin{
			Name: "boots_in", Doc: "How long its guest takes to boot.", Returns: none,
			Params: []api.Parameter{required("time", "int | float | string", "seconds", "until it accepts a login")},
		}, func(c *call) (starlark.Value, error) {
			var takes seconds
			if err := c.unpack("time", &takes); err != nil {
				return nil, err
			}
			c.settings().Boot = time.Duration(takes)
			return nil, nil
		}},
		{api.Builtin{Name: "refuses_logins", Doc: "Its guest refuses every password.", Returns: none}, func(c *call) (starlark.Value, error) {
			if err := c.unpack(); err != nil {
				return nil, err
			}
			c.settings().Refuses = true
			return nil, nil
		}},
		{api.Builtin{Name: "is_not_jeos", Doc: "Its guest has none of JeOS's own commands.", Returns: none}, func(c *call) (starlark.Value, error) {
			if err := c.unpack(); err != nil {
				return nil, err
			}
			c.settings().NoKit = true
			return nil, nil
		}},
		{api.Builtin{
			Name: "replays", Doc: "Its migrations go as they were recorded, the first ones in their order: see mhmig record.", Returns: none,
			Params: []api.Parameter{required("migrations", "list[list[tuple[int | float, dict[string, any]]]]", "lists of tuples of seconds and a dict", "for each migration, what query-migrate answers, by the seconds since the command migrate")},
		}, vmReplays},
		commandRow("its guest"), fileRow("its guest, at each boot"),
	}
}

func vmEvent(c *call) (starlark.Value, error) {
	var m moment
	var name, on string
	var data starlark.Value = starlark.NewDict(0)
	if err := c.unpack(append([]any{"name", &name, "data?", &data, "on?", &on}, m.arguments()...)...); err != nil {
		return nil, err
	}
	converted, err := builtins.FromStarlark(data)
	if err != nil {
		return nil, fmt.Errorf("%s: data: %w", c.name, err)
	}
	members, ok := converted.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: data: got %s, want a dict", c.name, data.Type())
	}
	return nil, c.fault(m, midway, on, fake.Event(name, members))
}

func vmReply(c *call) (starlark.Value, error) {
	var command, failure, on string
	var result starlark.Value = starlark.NewDict(0)
	times := 0
	if err := c.unpack("command", &command, "result?", &result, "error?", &failure, "times?", &times, "on?", &on); err != nil {
		return nil, err
	}
	if err := c.side(on); err != nil {
		return nil, err
	}
	converted, err := builtins.FromStarlark(result)
	if err != nil {
		return nil, fmt.Errorf("%s: result: %w", c.name, err)
	}
	r := &fake.Reply{Command: command, Side: on, Result: converted, Times: times}
	if failure != "" {
		r.Err = &qmptest.CommandError{Class: "GenericError", Desc: failure}
	}
	c.test.replies[c.self] = append(c.test.replies[c.self], r)
	return nil, nil
}

func vmReplays(c *call) (starlark.Value, error) {
	var migrations *starlark.List
	if err := c.unpack("migrations", &migrations); err != nil {
		return nil, err
	}
	var all [][]qmptest.Moment
	for migration := range starlark.Elements(migrations) {
		moments, err := momentsOf(migration)
		if err != nil {
			return nil, fmt.Errorf("%s: migration %d: %w", c.name, len(all)+1, err)
		}
		all = append(all, moments)
	}
	c.test.recorded[c.self] = all
	return nil, nil
}

// momentsOf converts a list of tuples of a time and figures.
func momentsOf(v starlark.Value) ([]qmptest.Moment, error) {
	list, ok := v.(starlark.Iterable)
	if !ok {
		return nil, fmt.Errorf("got %s, want a list", v.Type())
	}
	var moments []qmptest.Moment
	for item := range starlark.Elements(list) {
		tuple, ok := item.(starlark.Tuple)
		if !ok || len(tuple) != 2 {
			return nil, fmt.Errorf("got %s in the list, want a tuple of seconds and a dict", item.Type())
		}
		var after seconds
		if err := after.Unpack(tuple[0]); err != nil {
			return nil, err
		}
		converted, err := builtins.FromStarlark(tuple[1])
		if err != nil {
			return nil, err
		}
		figures, ok := converted.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("got %s at %s s, want a dict", tuple[1].Type(), tuple[0])
		}
		moments = append(moments, qmptest.Moment{After: time.Duration(after), Figures: figures})
	}
	if len(moments) == 0 {
		return nil, errors.New("it has no moment")
	}
	return moments, nil
}

// hostRows are the methods of fake.host(NAME).
func hostRows() []*row {
	atMigrate := fake.When{At: "migrate"}
	return []*row{
		simple("gone", "The host is lost, with its QEMUs.", atMigrate, fake.Lose),
		commandRow("the host"), fileRow("the host"),
	}
}

// commandRow is the method command.
func commandRow(whose string) *row {
	return &row{api.Builtin{
		Name: "command", Doc: "Answers shell commands that " + whose + " gets.", Returns: none,
		Params: []api.Parameter{
			required("pattern", "string", "a regular expression", "which: it matches a part of the command"), optional("output", "string", "string", `""`, "what they print"),
			optional("status", "int", "int", "0", "their exit status"),
			optional("fn", "function(string)", "a function of the command", "None", "returns what the command prints, or a tuple of its status and that"),
		},
	}, func(c *call) (starlark.Value, error) {
		var pattern, output string
		var status int
		var fn starlark.Callable
		if err := c.unpack("pattern", &pattern, "output?", &output, "status?", &status, "fn??", &fn); err != nil {
			return nil, err
		}
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: pattern: %w", c.name, err)
		}
		answer := fake.Answer{Matches: expression.MatchString, Reply: func(string) (string, int) { return output, status }}
		if fn != nil {
			t := c.test
			answer.Reply = func(command string) (string, int) {
				v, err := t.call(fn, starlark.String(command))
				var text string
				if err == nil {
					if text, status, err = answered(v); err == nil {
						return text, status
					}
				}
				t.wrongAnswer(fmt.Errorf("%s of %s: %w", fn.Name(), c.text, err))
				return "", 126
			}
		}
		c.test.answers[c.self] = append(c.test.answers[c.self], answer)
		return nil, nil
	}}
}

// answered is the output and status that a function of the test has returned.
func answered(v starlark.Value) (output string, status int, err error) {
	if tuple, ok := v.(starlark.Tuple); ok && len(tuple) == 2 {
		if status, err = starlark.AsInt32(tuple[0]); err == nil {
			v = tuple[1]
		}
	}
	if text, ok := starlark.AsString(v); ok || v == starlark.None {
		return text, status, nil
	}
	return "", 0, fmt.Errorf("got %s, want a text, or a tuple of a status and a text", v.Type())
}

func fileRow(whose string) *row {
	return &row{api.Builtin{
		Name: "file", Doc: "Makes a file of " + whose + ".", Returns: none,
		Params: []api.Parameter{required("path", "string", "string", "its absolute path"), optional("content", "string", "string", `""`, "what it has")},
	}, func(c *call) (starlark.Value, error) {
		var path, content string
		if err := c.unpack("path", &path, "content?", &content); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%s: path: got %q, want an absolute path", c.name, path)
		}
		files := c.test.files
		if files[c.self] == nil {
			files[c.self] = map[string]string{}
		}
		files[c.self][path] = content
		return nil, nil
	}}
}

// fakeRows are the functions of fake.
func fakeRows() []*row {
	named := func(kind, doc string, rows func() []*row) *row {
		return &row{api.Builtin{
			Name: kind, Doc: doc, Returns: api.Return{Type: "fake." + kind, Doc: "the fake, whose methods say what goes wrong"},
			Params: []api.Parameter{required("name", "string", "string", "its name")},
		}, func(c *call) (starlark.Value, error) {
			var name string
			if err := c.unpack("name", &name); err != nil {
				return nil, err
			}
			c.test.named = append(c.test.named, mention{kind, name, c.at})
			return &value{kind: "fake." + kind, self: name, rows: rows()}, nil
		}}
	}
	return []*row{
		named("vm", "Returns the fake of a VM, with its QEMUs and its guest.", vmRows),
		named("host", "Returns the fake of a host: host1, host2, …", hostRows),
	}
}
