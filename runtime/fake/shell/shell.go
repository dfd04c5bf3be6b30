// SPDX-License-Identifier: Apache-2.0

// Package shell is a POSIX shell in memory, for fake hosts and guests: it has files and
// commands of its own, and touches nothing of this machine.
//
//	m := shell.New(shell.NewFiles())
//	result := m.Run(ctx, ctx, "dd if=/dev/urandom of=/tmp/data bs=1k count=4 && sha256sum /tmp/data", nil, nil)
//
// The syntax is that of mvdan.cc/sh. It differs from a real shell in what a test of a
// scenario does not see: the commands of a pipe run one after the other, and functions
// and job control are missing. It waits by package time alone, so that it runs in
// virtual time.
//
// A Machine's methods may be called from any goroutine.
package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/pattern"
	"mvdan.cc/sh/v3/syntax"
)

// Machine is a machine whose shell runs commands.
type Machine struct {
	Files *Files
	// Programs are the machine's own, by name; they override those that every machine has.
	Programs map[string]Program
	// Unknown is called for a command that there is no program for. May be nil.
	Unknown func(command string)

	background sync.WaitGroup

	mu        sync.Mutex // guards what follows
	processes map[int]*Process
	lastPID   int
}

// Program is a command: it returns its exit status.
type Program func(*Call) int

// Process is a program that runs.
type Process struct {
	Name   string
	PID    int
	cancel context.CancelFunc
}

// Call is one call of a program. Who waits in it must end with Context.
type Call struct {
	Context context.Context
	Machine *Machine
	Args    []string // with the program's name
	Dir     string
	Stdin   []byte
	Stdout  bytes.Buffer
	Stderr  bytes.Buffer

	taken int // bytes of Stdin that the next program does not get
}

// Path is the absolute path of a file that the caller names.
func (c *Call) Path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(c.Dir, name)
}

// Fail writes an error message and returns 1.
func (c *Call) Fail(format string, args ...any) int {
	fmt.Fprintf(&c.Stderr, c.Args[0]+": "+format+"\n", args...)
	return 1
}

// New returns a machine with the programs that every machine has.
func New(files *Files) *Machine {
	return &Machine{Files: files, Programs: map[string]Program{}, processes: map[int]*Process{}, lastPID: 100}
}

// Output is what a command has written, and its exit status.
type Output struct {
	Stdout, Stderr []byte
	Status         int
}

// Run runs the text of a script, with these variables, until ctx ends. Commands that it
// leaves in the background run until lifetime ends; see [Machine.Wait].
func (m *Machine) Run(ctx, lifetime context.Context, text string, stdin []byte, env map[string]string) Output {
	s := &session{machine: m, ctx: ctx, lifetime: lifetime, dir: "/root", env: variables(env)}
	return s.script(text, stdin)
}

// Wait waits until all commands in the background have ended, which their contexts do.
func (m *Machine) Wait() { m.background.Wait() }

// Session is a shell that is logged in to: it keeps its variables and its folder.
type Session struct{ s *session }

// Login returns a shell. Commands that it leaves in the background run until ctx ends.
func (m *Machine) Login(ctx context.Context) *Session {
	return &Session{&session{machine: m, ctx: ctx, lifetime: ctx, dir: "/root", env: variables(nil)}}
}

// Run runs a script in the session, until ctx ends.
func (s *Session) Run(ctx context.Context, text string) Output {
	s.s.ctx = ctx
	return s.s.script(text, nil)
}

func variables(more map[string]string) map[string]expand.Variable {
	env := map[string]expand.Variable{"PATH": word("/usr/bin"), "HOME": word("/root")}
	for name, value := range more {
		env[name] = word(value)
	}
	return env
}

// Processes returns the processes that run, by PID.
func (m *Machine) Processes() []*Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*Process
	for _, p := range m.processes {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Process) int { return a.PID - b.PID })
	return all
}

// Start adds a process that has no program: it is listed until it is killed.
func (m *Machine) Start(name string, killed func()) *Process { return m.start(name, killed) }

func (m *Machine) start(name string, cancel func()) *Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastPID++
	p := &Process{Name: name, PID: m.lastPID, cancel: cancel}
	m.processes[p.PID] = p
	return p
}

// End removes a process. It may be called again.
func (m *Machine) End(p *Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.processes, p.PID)
}

// Kill ends the processes that match, and returns how many there were.
func (m *Machine) Kill(match func(*Process) bool) int {
	count := 0
	for _, p := range m.Processes() {
		if match(p) {
			m.End(p)
			p.cancel()
			count++
		}
	}
	return count
}

// statusKilled is the exit status of a program whose context has ended.
const statusKilled = 137

// session is the state of one shell.
type session struct {
	machine  *Machine
	ctx      context.Context
	lifetime context.Context // of what runs in the background
	dir      string
	env      map[string]expand.Variable
	status   int
	exited   bool // the command exit has run
	depth    int
}

// streams are what a command reads and writes.
type streams struct {
	stdin          *[]byte // what is left of it
	stdout, stderr io.Writer
}

func word(text string) expand.Variable {
	return expand.Variable{Set: true, Kind: expand.String, Str: text}
}

// Get, Each and Set make a session the [expand.WriteEnviron] of its words.
func (s *session) Get(name string) expand.Variable {
	switch name {
	case "?":
		return word(strconv.Itoa(s.status))
	case "$":
		return word("99")
	case "EPOCHREALTIME":
		if program := s.machine.Programs["date"]; program != nil {
			c := &Call{Context: s.ctx, Machine: s.machine, Args: []string{"date", "+%s.%6N"}, Dir: s.dir}
			program(c)
			return word(strings.TrimSpace(c.Stdout.String()))
		}
	}
	return s.env[name]
}

// Each calls f for all variables.
func (s *session) Each(f func(name string, v expand.Variable) bool) {
	for name, v := range s.env {
		if !f(name, v) {
			return
		}
	}
}

// Set sets a variable.
func (s *session) Set(name string, v expand.Variable) error {
	s.env[name] = v
	return nil
}

// fork is a subshell.
func (s *session) fork() *session {
	own := &session{machine: s.machine, ctx: s.ctx, lifetime: s.lifetime, dir: s.dir, env: map[string]expand.Variable{}, status: s.status, depth: s.depth}
	maps.Copy(own.env, s.env)
	return own
}

func (s *session) script(text string, stdin []byte) Output {
	var stdout, stderr bytes.Buffer
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return Output{Stderr: []byte("sh: " + err.Error() + "\n"), Status: 2}
	}
	status := s.all(file.Stmts, streams{&stdin, &stdout, &stderr})
	s.exited = false
	return Output{stdout.Bytes(), stderr.Bytes(), status}
}

func (s *session) all(statements []*syntax.Stmt, std streams) int {
	for _, statement := range statements {
		if s.exited || s.ctx.Err() != nil {
			break
		}
		s.status = s.statement(statement, std)
	}
	if s.ctx.Err() != nil {
		s.status = statusKilled
	}
	return s.status
}

func (s *session) statement(statement *syntax.Stmt, std streams) int {
	if statement.Background {
		own := s.fork()
		own.ctx = s.lifetime
		foreground := *statement
		foreground.Background = false
		discarded := streams{new([]byte), &bytes.Buffer{}, &bytes.Buffer{}}
		s.machine.background.Go(func() { own.statement(&foreground, discarded) })
		return 0
	}
	finish, std, err := s.redirect(statement.Redirs, std)
	if err != nil {
		fmt.Fprintln(std.stderr, "sh:", err)
		return 1
	}
	status := s.command(statement.Cmd, std)
	if err := finish(); err != nil {
		fmt.Fprintln(std.stderr, "sh:", err)
		status = 1
	}
	if statement.Negated {
		if status == 0 {
			return 1
		}
		return 0
	}
	return status
}

// redirect opens what a statement's redirections name; finish writes the files.
func (s *session) redirect(redirs []*syntax.Redirect, old streams) (finish func() error, std streams, err error) {
	std = old
	var writes []func() error
	finish = func() error {
		var errs []error
		for _, write := range writes {
			errs = append(errs, write())
		}
		return errors.Join(errs...)
	}
	for _, r := range redirs {
		name, err := expand.Literal(s.config(std), r.Word)
		if err != nil {
			return finish, std, err
		}
		fd := 1
		if r.N != nil {
			fd, _ = strconv.Atoi(r.N.Value)
		}
		switch r.Op {
		case syntax.RdrIn:
			data, err := s.machine.Files.ReadFile(s.path(name))
			if err != nil {
				return finish, std, err
			}
			std.stdin = &data
		case syntax.Hdoc, syntax.DashHdoc:
			text, err := expand.Document(s.config(std), r.Hdoc)
			if err != nil {
				return finish, std, err
			}
			std.stdin = new([]byte(text))
		case syntax.WordHdoc:
			std.stdin = new([]byte(name + "\n"))
		case syntax.DplOut:
			switch {
			case fd == 2 && name == "1":
				std.stderr = std.stdout
			case fd == 1 && name == "2":
				std.stdout = std.stderr
			}
		case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.RdrClob:
			file := s.path(name)
			if r.Op != syntax.AppOut { // it is there while the command runs
				if err := s.machine.Files.WriteFile(file, nil); err != nil {
					return finish, std, err
				}
			}
			var buffer bytes.Buffer
			if fd == 1 || r.Op == syntax.RdrAll {
				std.stdout = &buffer
			}
			if fd == 2 || r.Op == syntax.RdrAll {
				std.stderr = &buffer
			}
			writes = append(writes, func() error { return s.machine.Files.Append(file, buffer.Bytes()) })
		default:
			return finish, std, fmt.Errorf("the fake shell has no redirection %s", r.Op)
		}
	}
	return finish, std, nil
}

func (s *session) path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(s.dir, name)
}

// config expands words in the session.
func (s *session) config(std streams) *expand.Config {
	return &expand.Config{
		Env: s,
		CmdSubst: func(w io.Writer, c *syntax.CmdSubst) error {
			own := s.fork()
			s.status = own.all(c.Stmts, streams{std.stdin, w, std.stderr})
			return nil
		},
		ReadDir2: func(dir string) ([]fs.DirEntry, error) { return s.machine.Files.ReadDir(s.path(dir)) },
	}
}

// maxIterations ends a loop that nobody waits in.
const maxIterations = 100_000

func (s *session) command(command syntax.Command, std streams) int {
	if s.ctx.Err() != nil {
		return statusKilled
	}
	switch c := command.(type) {
	case nil:
		return 0
	case *syntax.CallExpr:
		return s.call(c, std)
	case *syntax.BinaryCmd:
		return s.binary(c, std)
	case *syntax.Block:
		return s.all(c.Stmts, std)
	case *syntax.Subshell:
		return s.fork().all(c.Stmts, std)
	case *syntax.IfClause:
		return s.ifClause(c, std)
	case *syntax.WhileClause:
		status := 0
		for range maxIterations {
			if s.exited || s.ctx.Err() != nil || (s.all(c.Cond, std) == 0) == c.Until {
				return status
			}
			status = s.all(c.Do, std)
		}
		return s.unsupported(std, "a loop of so many iterations")
	case *syntax.ForClause:
		words, ok := c.Loop.(*syntax.WordIter)
		if !ok {
			return s.unsupported(std, "for ((…))")
		}
		items, err := expand.Fields(s.config(std), words.Items...)
		if err != nil {
			return s.wrong(std, err)
		}
		status := 0
		for _, item := range items {
			if s.exited || s.ctx.Err() != nil {
				break
			}
			s.env[words.Name.Value] = word(item)
			status = s.all(c.Do, std)
		}
		return status
	case *syntax.CaseClause:
		return s.caseClause(c, std)
	}
	return s.unsupported(std, fmt.Sprintf("%T", command))
}

func (s *session) unsupported(std streams, what string) int {
	return s.wrong(std, fmt.Errorf("the fake shell does not support %s", what))
}

func (s *session) wrong(std streams, err error) int {
	fmt.Fprintln(std.stderr, "sh:", err)
	return 2
}

func (s *session) ifClause(c *syntax.IfClause, std streams) int {
	for ; c != nil; c = c.Else {
		if len(c.Cond) == 0 || s.all(c.Cond, std) == 0 {
			return s.all(c.Then, std)
		}
	}
	return 0
}

func (s *session) caseClause(c *syntax.CaseClause, std streams) int {
	text, err := expand.Literal(s.config(std), c.Word)
	if err != nil {
		return s.wrong(std, err)
	}
	for _, item := range c.Items {
		for _, p := range item.Patterns {
			wanted, err := expand.Pattern(s.config(std), p)
			if err != nil {
				return s.wrong(std, err)
			}
			if matched, err := matches(wanted, text); err == nil && matched {
				return s.all(item.Stmts, std)
			}
		}
	}
	return 0
}

func (s *session) binary(c *syntax.BinaryCmd, std streams) int {
	switch c.Op {
	case syntax.AndStmt, syntax.OrStmt:
		s.status = s.statement(c.X, std)
		if s.exited || (s.status == 0) != (c.Op == syntax.AndStmt) {
			return s.status
		}
		return s.statement(c.Y, std)
	}
	var between bytes.Buffer
	first := streams{std.stdin, &between, std.stderr}
	if c.Op == syntax.PipeAll {
		first.stderr = &between
	}
	s.fork().statement(c.X, first)
	return s.fork().statement(c.Y, streams{new(between.Bytes()), std.stdout, std.stderr})
}

// call runs a simple command.
func (s *session) call(c *syntax.CallExpr, std streams) int {
	args, err := expand.Fields(s.config(std), c.Args...)
	if err != nil {
		return s.wrong(std, err)
	}
	target := s
	if len(args) > 0 && len(c.Assigns) > 0 {
		target = s.fork()
	}
	for _, a := range c.Assigns {
		text := ""
		if a.Value != nil {
			if text, err = expand.Literal(s.config(std), a.Value); err != nil {
				return s.wrong(std, err)
			}
		}
		if a.Append {
			text = s.env[a.Name.Value].Str + text
		}
		target.env[a.Name.Value] = word(text)
	}
	if len(args) == 0 {
		return s.status
	}
	return target.execute(args, std)
}

// execute runs a command of the shell itself, or a program.
func (s *session) execute(args []string, std streams) int {
	switch args[0] {
	case ":", "true", "export", "unset", "set", "umask", "stty", "trap", "ulimit", "hash", "alias", "local", "readonly":
		for _, assignment := range args[1:] {
			if name, value, ok := strings.Cut(assignment, "="); ok && args[0] != "set" {
				s.env[name] = word(value)
			}
		}
		return 0
	case "exit":
		s.exited = true
		if len(args) > 1 {
			s.status, _ = strconv.Atoi(args[1])
		}
		return s.status
	case "cd":
		dir := "/root"
		if len(args) > 1 {
			dir = s.path(args[1])
		}
		if info, err := s.machine.Files.Stat(dir); err != nil || !info.IsDir() {
			fmt.Fprintf(std.stderr, "cd: %s: No such file or directory\n", dir)
			return 1
		}
		s.dir = dir
		return 0
	case "eval", ".":
		return s.nested(strings.Join(args[1:], " "), std)
	case "sh", "bash", "ash":
		if len(args) > 2 && args[1] == "-c" {
			return s.fork().nested(args[2], std)
		}
		if len(args) > 1 {
			text, err := s.machine.Files.ReadFile(s.path(args[1]))
			if err != nil {
				return s.wrong(std, err)
			}
			return s.fork().nested(string(text), std)
		}
		return s.fork().nested(string(*std.stdin), std)
	case "busybox", "nohup", "setsid", "exec", "env", "sudo":
		if len(args) > 1 {
			return s.execute(args[1:], std)
		}
		return 0
	case "command":
		if len(args) > 1 && args[1] == "-v" {
			return s.which(args[2:], std)
		}
		if len(args) > 1 {
			return s.execute(args[1:], std)
		}
		return 0
	case "read":
		line, _, _ := strings.Cut(string(*std.stdin), "\n")
		names := slices.DeleteFunc(slices.Clone(args[1:]), func(a string) bool { return strings.HasPrefix(a, "-") })
		fields := strings.Fields(line)
		for i, name := range names {
			value := ""
			if i == len(names)-1 {
				value = strings.Join(fields[min(i, len(fields)):], " ")
			} else if i < len(fields) {
				value = fields[i]
			}
			s.env[name] = word(value)
		}
		if len(*std.stdin) == 0 {
			return 1
		}
		return 0
	}
	program := s.machine.program(args[0])
	if program == nil {
		if s.machine.Unknown != nil {
			s.machine.Unknown(args[0])
		}
		fmt.Fprintf(std.stderr, "sh: %s: not found\n", args[0])
		return 127
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	process := s.machine.start(path.Base(args[0]), cancel)
	defer s.machine.End(process)
	call := &Call{Context: ctx, Machine: s.machine, Args: args, Dir: s.dir, Stdin: *std.stdin}
	status := program(call)
	*std.stdin = (*std.stdin)[call.taken:]
	if ctx.Err() != nil {
		return statusKilled
	}
	_, _ = std.stdout.Write(call.Stdout.Bytes()) // buffers
	_, _ = std.stderr.Write(call.Stderr.Bytes())
	return status
}

// program returns the program of a name or path, nil if there is none.
func (m *Machine) program(name string) Program {
	name = path.Base(name)
	if p, own := m.Programs[name]; own {
		return p
	}
	return programs[name]
}

// maxDepth limits scripts within scripts.
const maxDepth = 20

func (s *session) nested(text string, std streams) int {
	if s.depth >= maxDepth {
		return s.unsupported(std, "scripts nested so deep")
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return s.wrong(std, err)
	}
	s.depth++
	defer func() { s.depth-- }()
	return s.all(file.Stmts, std)
}

func (s *session) which(names []string, std streams) int {
	names = slices.DeleteFunc(names, func(n string) bool { return n == "--" })
	if len(names) == 0 || s.machine.program(names[0]) == nil {
		return 127
	}
	fmt.Fprintln(std.stdout, "/usr/bin/"+path.Base(names[0]))
	return 0
}

// matches reports whether a shell pattern matches the whole text.
func matches(wanted, text string) (bool, error) {
	expression, err := pattern.Regexp(wanted, pattern.EntireString)
	if err != nil {
		return false, err
	}
	return regexpMatch(expression, text)
}

// Sleep waits, or until the program is killed.
func (c *Call) Sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.Context.Done():
	}
}
