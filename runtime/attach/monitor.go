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

// lastEvents is how long to wait for events after the last command.
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

// Close closes the monitor.
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

// Monitor is a connection to a VM's second monitor, which mhmig does not use itself.
type Monitor struct {
	name     string
	monitor  *qmp.Conn
	close    func() error
	commands []string
	pretty   bool

	mu     sync.Mutex // guards what follows
	out    io.Writer
	failed bool // a command
}

// print writes a JSON object.
func (t *Monitor) print(object []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b bytes.Buffer
	if !t.pretty || json.Indent(&b, object, "", "  ") != nil {
		b.Reset()
		b.Write(object)
	}
	lines := bytes.Split(b.Bytes(), []byte("\n")) // strings in JSON have no newlines
	for i, line := range lines {
		lines[i] = printable.JSON(line)
	}
	_, _ = t.out.Write(append(bytes.Join(lines, []byte("\n")), '\n'))
}

// printEvent writes an event: on a terminal in one line, with its time.
func (t *Monitor) printEvent(e qmp.Event) {
	data, _ := json.Marshal(e.Data) // it was decoded from JSON
	if t.pretty {
		t.mu.Lock()
		defer t.mu.Unlock()
		fmt.Fprintf(t.out, "%s %s %s\n", e.Received.Format("15:04:05.000"), printable.Line(e.Name), printable.JSON(data))
		return
	}
	object, _ := json.Marshal(map[string]any{"event": e.Name, "data": json.RawMessage(data), "time": e.Received})
	t.print(object)
}

// run executes one line.
func (t *Monitor) run(line string) {
	command, err := t.parse(line)
	var reply []byte
	if err == nil {
		reply, err = t.monitor.Run(command)
	}
	if err == nil {
		t.print(reply)
		return
	}
	t.mu.Lock()
	t.failed = true
	t.mu.Unlock()
	class, text := "mhmig", err.Error()
	if refusal, ok := errors.AsType[*qmp.Error](err); ok {
		class, text = refusal.Class, refusal.Desc
	}
	object, _ := json.Marshal(map[string]any{"error": map[string]string{"class": class, "desc": text}})
	t.print(object)
}

// parse converts a line to a command: it is JSON, or a name and key=value.
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

// cutValue cuts a JSON value, else a word, from the front of text.
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

// commandLine joins arguments to one line. Arguments that a shell has quoted stay
// together: a value that is not JSON becomes a JSON string.
func commandLine(words []string) string {
	words = slices.Clone(words)
	for i, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if i == 0 || !ok || strings.HasPrefix(words[0], "{") || json.Valid([]byte(value)) {
			continue
		}
		text, _ := json.Marshal(value) // a string can always be encoded
		words[i] = key + "=" + string(text)
	}
	return strings.Join(words, " ")
}

// Once executes one command, from the arguments of a command line. Its reply is written
// to out: indented if pretty, else in one line.
func (t *Monitor) Once(ctx context.Context, words []string, out io.Writer, pretty bool) error {
	t.out, t.pretty = out, pretty
	stop := context.AfterFunc(ctx, func() { _ = t.monitor.Close() })
	defer stop()
	t.run(commandLine(words)) //nolint:contextcheck // closing the monitor ends it
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.failed:
		return &exit.Error{Code: exit.Failed}
	}
	return nil
}

// Script executes each line of r. Replies and events are written to out, a line each.
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
	var done <-chan time.Time
	for {
		select {
		case e, ok := <-events.C:
			if !ok {
				return exit.Hosts.Wrap(t.monitor.Err())
			}
			t.printEvent(e)
		case line := <-lines:
			if strings.TrimSpace(line) != "" {
				t.run(line) //nolint:contextcheck // closing the monitor ends it
			}
		case err := <-ended:
			if err != nil {
				return exit.Usage.Wrap(fmt.Errorf("read commands: %w", err))
			}
			done = time.After(lastEvents)
		case <-done:
			if t.failed {
				return &exit.Error{Code: exit.Failed}
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Interactive reads commands from the user, with a line editor that completes them.
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
	var printing sync.WaitGroup
	defer printing.Wait()
	defer events.Close()
	printing.Go(func() {
		for e := range events.C {
			t.printEvent(e)
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
			t.run(line) //nolint:contextcheck // closing the monitor ends it
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// complete completes a command's name to the longest common prefix.
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
