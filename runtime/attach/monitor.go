// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// lastEvents is how long events are waited for after the last command.
const lastEvents = 200 * time.Millisecond

// Monitor connects to the VM's second monitor; timeout limits each command.
func (e *Endpoint) Monitor(ctx context.Context, timeout time.Duration) (*Monitor, error) {
	conn, closeAll, err := e.monitor(ctx, timeout)
	if err != nil {
		return nil, err
	}
	t := &Monitor{name: e.VM + "@" + e.Host, monitor: conn, close: closeAll}
	if t.commands, err = commandNames(ctx, conn); err != nil {
		return nil, errors.Join(exit.Hosts.Wrap(err), closeAll())
	}
	return t, nil
}

// Close leaves the monitor.
func (t *Monitor) Close() error { return t.close() }

func commandNames(ctx context.Context, monitor *qmp.Conn) ([]string, error) {
	var all []struct {
		Name string `json:"name"`
	}
	err := monitor.Execute(ctx, "query-commands", nil, &all)
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	slices.Sort(names)
	return names, err
}

// Monitor is a VM's second monitor, which is there for people: the user's or a
// program's talk with it.
type Monitor struct {
	name     string
	monitor  *qmp.Conn
	close    func() error
	commands []string
	pretty   bool

	mu      sync.Mutex // guards what follows
	out     io.Writer
	refused bool
}

// tell writes a JSON object.
func (t *Monitor) tell(object []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b bytes.Buffer
	if !t.pretty || json.Indent(&b, object, "", "  ") != nil {
		b.Reset()
		b.Write(object)
	}
	lines := bytes.Split(b.Bytes(), []byte("\n")) // a string of JSON has none
	for i, line := range lines {
		lines[i] = printable.JSON(line)
	}
	_, _ = t.out.Write(append(bytes.Join(lines, []byte("\n")), '\n'))
}

// event tells an event: for the user in one line, with its time.
func (t *Monitor) event(e qmp.Event) {
	data, _ := json.Marshal(e.Data) // it came as JSON
	if t.pretty {
		t.mu.Lock()
		defer t.mu.Unlock()
		fmt.Fprintf(t.out, "%s %s %s\n", e.Received.Format("15:04:05.000"), printable.Line(e.Name), printable.JSON(data))
		return
	}
	object, _ := json.Marshal(map[string]any{"event": e.Name, "data": json.RawMessage(data), "time": e.Received})
	t.tell(object)
}

// perform carries out one line.
func (t *Monitor) perform(line string) {
	command, err := t.parse(line)
	var reply []byte
	if err == nil {
		reply, err = t.monitor.Run(command)
	}
	if err == nil {
		t.tell(reply)
		return
	}
	t.mu.Lock()
	t.refused = true
	t.mu.Unlock()
	class, text := "mhmig", err.Error()
	if refusal, ok := errors.AsType[*qmp.Error](err); ok {
		class, text = refusal.Class, refusal.Desc
	}
	object, _ := json.Marshal(map[string]any{"error": map[string]string{"class": class, "desc": text}})
	t.tell(object)
}

// parse makes a command of a line: JSON already, or a name and key=value.
func (t *Monitor) parse(line string) ([]byte, error) {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "{") {
		return []byte(line), nil
	}
	name, rest, _ := strings.Cut(line, " ")
	same := func(c string) bool { return strings.ReplaceAll(c, "_", "-") == strings.ReplaceAll(name, "_", "-") }
	if i := slices.IndexFunc(t.commands, same); i < 0 {
		hint := ""
		if near := diag.Nearest(name, t.commands); near != "" {
			hint = "; did you mean " + near + "?"
		}
		return nil, fmt.Errorf("QEMU has no command %s%s", name, hint)
	} else if !slices.Contains(t.commands, name) {
		name = t.commands[i]
	}
	arguments := map[string]any{}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		key, value, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(key, " \t") {
			return nil, fmt.Errorf("%s: got %q, want key=value", name, rest)
		}
		arguments[key], rest = cutValue(value)
	}
	command := map[string]any{"execute": name}
	if len(arguments) > 0 {
		command["arguments"] = arguments
	}
	return json.Marshal(command)
}

// cutValue takes a value of JSON from the front of text, else a word.
func cutValue(text string) (value any, rest string) {
	var raw json.RawMessage
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&raw); err == nil {
		if rest := text[d.InputOffset():]; rest == "" || rest[0] == ' ' || rest[0] == '\t' {
			return raw, rest
		}
	}
	word, rest, _ := strings.Cut(text, " ")
	return word, rest
}

// commandLine makes one line of arguments. What a shell has quoted stays together:
// a value that is not JSON becomes a string of it.
func commandLine(words []string) string {
	words = slices.Clone(words)
	for i, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if i == 0 || !ok || strings.HasPrefix(words[0], "{") || json.Valid([]byte(value)) {
			continue
		}
		text, _ := json.Marshal(value) // a string always can be
		words[i] = key + "=" + string(text)
	}
	return strings.Join(words, " ")
}

// Once carries out one command, of the arguments of a command line. Its reply goes to
// out: indented if pretty, else in one line.
func (t *Monitor) Once(ctx context.Context, words []string, out io.Writer, pretty bool) error {
	t.out, t.pretty = out, pretty
	stop := context.AfterFunc(ctx, func() { _ = t.monitor.Close() })
	defer stop()
	t.perform(commandLine(words)) //nolint:contextcheck // closing the monitor ends it
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.refused:
		return &exit.Error{Code: exit.Failed}
	}
	return nil
}

// Script carries out each line of r. Replies and events go to out, a line each.
func (t *Monitor) Script(ctx context.Context, r io.Reader, out io.Writer) error {
	t.out = out
	events := t.monitor.Subscribe()
	defer events.Close()
	lines, ended := make(chan string), make(chan error, 1)
	go func() { // ends with r, or the program
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		ended <- scanner.Err()
	}()
	var over <-chan time.Time
	for {
		select {
		case e, ok := <-events.C:
			if !ok {
				return exit.Hosts.Wrap(t.monitor.Err())
			}
			t.event(e)
		case line := <-lines:
			if strings.TrimSpace(line) != "" {
				t.perform(line) //nolint:contextcheck // closing the monitor ends it
			}
		case err := <-ended:
			if err != nil {
				return exit.Usage.Wrap(fmt.Errorf("read commands: %w", err))
			}
			over = time.After(lastEvents)
		case <-over:
			if t.refused {
				return &exit.Error{Code: exit.Failed}
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Interactive talks with the user, in a line editor that knows the commands.
func (t *Monitor) Interactive(ctx context.Context, in, out *os.File) error {
	restore, err := terminal.Raw(in)
	if err != nil {
		return exit.Hosts.Wrap(err)
	}
	defer restore()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	keys := terminal.NewKeyboard(in, out)
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{readerFunc(func(buf []byte) (int, error) {
		text, err := keys.Read(ctx)
		return copy(buf, text), err
	}), out}, t.name+"> ")
	editor.AutoCompleteCallback = t.complete
	t.out, t.pretty = editor, true
	events := t.monitor.Subscribe()
	var telling sync.WaitGroup
	defer telling.Wait()
	defer events.Close()
	telling.Go(func() {
		for e := range events.C {
			t.event(e)
		}
		cancel(t.monitor.Err())
	})
	for {
		line, err := editor.ReadLine()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return exit.Hosts.Wrap(err)
		}
		if strings.TrimSpace(line) != "" {
			t.perform(line) //nolint:contextcheck // closing the monitor ends it
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// complete extends a command's name as far as it is certain.
func (t *Monitor) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' || pos != len(line) || strings.Contains(line, " ") {
		return "", 0, false
	}
	var common string
	for _, name := range t.commands {
		switch {
		case !strings.HasPrefix(name, line):
		case common == "":
			common = name
		default:
			for !strings.HasPrefix(name, common) {
				common = common[:len(common)-1]
			}
		}
	}
	return common, len(common), common != ""
}
