// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"crypto/md5" //nolint:gosec // of the command md5sum
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
)

// programs are those that every machine has.
var programs = map[string]Program{
	"[": test, "basename": pathPart(path.Base), "cat": cat, "chmod": nothing, "chown": nothing, "cmp": cmp, "cp": copyFile, "cut": cut, "date": date,
	"dd": dd, "dirname": pathPart(path.Dir), "echo": echo, "eject": nothing, "false": func(*Call) int { return 1 }, "fsync": nothing, "grep": grep,
	"head": head, "id": id, "kill": kill, "killall": killByName, "ls": ls, "md5sum": checksum(func(b []byte) string { return fmt.Sprintf("%x", md5.Sum(b)) }), //nolint:gosec // as above
	"mkdir": mkdir, "mount": nothing, "mv": mv, "pgrep": pgrep, "pidof": pgrep, "pkill": killByName, "printf": printf, "ps": ps, "rm": rm, "rmdir": rm, "seq": seq,
	"sha256sum": checksum(func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }), "sleep": sleep, "sort": sortLines, "split": splitFile, "stat": stat, "sync": nothing,
	"tail": tail, "tee": tee, "test": test, "touch": touch, "tr": tr, "truncate": truncate, "umount": nothing, "wait": nothing, "wc": wc, "whoami": id,
}

func nothing(*Call) int { return 0 }

// split separates flags from operands; a flag of values takes the next argument.
func (c *Call) split(values string) (flags map[string]string, operands []string) {
	flags = map[string]string{}
	for i := 1; i < len(c.Args); i++ {
		a := c.Args[i]
		switch {
		case a == "--":
			return flags, append(operands, c.Args[i+1:]...)
		case strings.HasPrefix(a, "--"):
			name, value, _ := strings.Cut(a[2:], "=")
			flags[name] = value
		case len(a) > 1 && a[0] == '-':
			for at := 1; at < len(a); at++ {
				name := a[at : at+1]
				if !strings.Contains(values, name) {
					flags[name] = ""
					continue
				}
				if flags[name] = a[at+1:]; flags[name] == "" && i+1 < len(c.Args) {
					i++
					flags[name] = c.Args[i]
				}
				break
			}
		default:
			operands = append(operands, a)
		}
	}
	return flags, operands
}

func has(flags map[string]string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, there := flags[name]; return there })
}

// input is the content of the files, or the standard input if there are none.
func (c *Call) input(names []string) ([]byte, int) {
	if len(names) == 0 {
		return c.Stdin, 0
	}
	var all []byte
	status := 0
	for _, name := range names {
		if name == "-" {
			all = append(all, c.Stdin...)
			continue
		}
		data, err := c.Machine.Files.ReadFile(c.Path(name))
		if err != nil {
			status = c.Fail("%s: %v", name, reason(err))
		}
		all = append(all, data...)
	}
	return all, status
}

// reason is a message as a program of Linux has it.
func reason(err error) string {
	if pathError, ok := err.(*fs.PathError); ok {
		err = pathError.Err
	}
	if err == fs.ErrNotExist { //nolint:errorlint // it is not wrapped
		return "No such file or directory"
	}
	return err.Error()
}

func cat(c *Call) int {
	_, names := c.split("")
	data, status := c.input(names)
	c.Stdout.Write(data)
	return status
}

func tee(c *Call) int {
	flags, names := c.split("")
	c.Stdout.Write(c.Stdin)
	for _, name := range names {
		write := c.Machine.Files.WriteFile
		if has(flags, "a") {
			write = c.Machine.Files.Append
		}
		if err := write(c.Path(name), c.Stdin); err != nil {
			return c.Fail("%s: %v", name, reason(err))
		}
	}
	return 0
}

func echo(c *Call) int {
	args, end := c.Args[1:], "\n"
	for len(args) > 0 && (args[0] == "-n" || args[0] == "-e") {
		if args[0] == "-n" {
			end = ""
		}
		args = args[1:]
	}
	c.Stdout.WriteString(strings.Join(args, " ") + end)
	return 0
}

func printf(c *Call) int {
	if len(c.Args) < 2 {
		return c.Fail("no format")
	}
	args := c.Args[2:]
	for {
		text, used, err := expand.Format(new(expand.Config), c.Args[1], args) // nil would be one that all share
		if err != nil {
			return c.Fail("%v", err)
		}
		c.Stdout.WriteString(text)
		if args = args[min(used, len(args)):]; len(args) == 0 || used == 0 {
			return 0
		}
	}
}

// size parses a number with a suffix such as dd's.
func size(text string) (int64, error) {
	unit := int64(1)
	switch {
	case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
		unit = 1 << 10
	case strings.HasSuffix(text, "M"):
		unit = 1 << 20
	case strings.HasSuffix(text, "G"):
		unit = 1 << 30
	}
	n, err := strconv.ParseInt(strings.TrimRight(text, "kKMG"), 10, 64)
	return n * unit, err
}

func dd(c *Call) int {
	o := map[string]string{"bs": "512"}
	for _, a := range c.Args[1:] {
		name, value, _ := strings.Cut(a, "=")
		o[name] = value
	}
	numbers := map[string]int64{}
	for _, name := range []string{"bs", "count", "skip", "seek"} {
		if o[name] == "" {
			continue
		}
		n, err := size(o[name])
		if err != nil {
			return c.Fail("%s=%s: invalid number", name, o[name])
		}
		numbers[name] = n
	}
	limit := int64(maxRead)
	if o["count"] != "" {
		limit = numbers["count"] * numbers["bs"]
	}
	data := c.Stdin[min(numbers["skip"]*numbers["bs"], int64(len(c.Stdin))):]
	if o["if"] != "" {
		if info, err := c.Machine.Files.Stat(c.Path(o["if"])); err == nil && o["count"] == "" && c.endless(o["if"], info) {
			<-c.Context.Done() // it reads until it is killed
			return statusKilled
		}
		var err error
		if data, err = c.Machine.Files.read(c.Path(o["if"]), numbers["skip"]*numbers["bs"], limit); err != nil {
			return c.Fail("%s: %s", o["if"], reason(err))
		}
	}
	data = data[:min(limit, int64(len(data)))]
	if o["if"] == "" && o["skip"] == "" {
		c.taken = len(data)
	}
	if o["of"] == "" {
		c.Stdout.Write(data)
	} else if err := c.Machine.Files.write(c.Path(o["of"]), data, numbers["seek"]*numbers["bs"], o["seek"] == "" && !strings.Contains(o["conv"], "notrunc")); err != nil {
		return c.Fail("%s: %s", o["of"], reason(err))
	}
	fmt.Fprintf(&c.Stderr, "%d bytes copied\n", len(data))
	return 0
}

func (c *Call) endless(name string, info fs.FileInfo) bool {
	if info.Mode()&fs.ModeDevice == 0 {
		return false
	}
	n, err := c.Machine.Files.of(c.Path(name)).find("open", c.Path(name))
	return err == nil && n.device != nil && n.device.Size() < 0
}

func checksum(sum func([]byte) string) Program {
	return func(c *Call) int {
		_, names := c.split("")
		if len(names) == 0 {
			fmt.Fprintf(&c.Stdout, "%s  -\n", sum(c.Stdin))
			return 0
		}
		status := 0
		for _, name := range names {
			data, err := c.Machine.Files.ReadFile(c.Path(name))
			if err != nil {
				status = c.Fail("%s: %s", name, reason(err))
				continue
			}
			fmt.Fprintf(&c.Stdout, "%s  %s\n", sum(data), name)
		}
		return status
	}
}

// splitFile is split with -b and -a: files PREFIXaa, PREFIXab, …
func splitFile(c *Call) int {
	flags, names := c.split("ba")
	bytesEach, err := size(flags["b"])
	digits := 2
	if text := flags["a"]; err == nil && text != "" {
		digits, err = strconv.Atoi(text)
	}
	if err != nil || bytesEach < 1 || digits < 1 || digits > 8 || len(names) != 2 {
		return c.Fail("want -b SIZE, a file and a prefix")
	}
	data, err := c.Machine.Files.ReadFile(c.Path(names[0]))
	if err != nil {
		return c.Fail("%s: %s", names[0], reason(err))
	}
	n := 0
	for piece := range slices.Chunk(data, int(bytesEach)) {
		suffix := make([]byte, digits)
		for i, rest := digits-1, n; i >= 0; i, rest = i-1, rest/26 {
			suffix[i] = 'a' + byte(rest%26)
		}
		if err := c.Machine.Files.WriteFile(c.Path(names[1]+string(suffix)), piece); err != nil {
			return c.Fail("%s: %s", names[1]+string(suffix), reason(err))
		}
		n++
	}
	return 0
}

func cmp(c *Call) int {
	_, names := c.split("")
	if len(names) != 2 {
		return c.Fail("want two files")
	}
	first, status := c.input(names[:1])
	second, other := c.input(names[1:])
	switch {
	case status+other > 0:
		return 2
	case !bytes.Equal(first, second):
		fmt.Fprintf(&c.Stdout, "%s %s differ\n", names[0], names[1])
		return 1
	}
	return 0
}

func (c *Call) lines(names []string) ([]string, int) {
	data, status := c.input(names)
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" {
		return nil, status
	}
	return strings.Split(text, "\n"), status
}

func grep(c *Call) int {
	flags, operands := c.split("mefA")
	expression, given := flags["e"], has(flags, "e")
	if !given {
		if len(operands) == 0 {
			return c.Fail("no pattern")
		}
		expression, operands = operands[0], operands[1:]
	}
	if has(flags, "F") {
		expression = regexp.QuoteMeta(expression)
	}
	if has(flags, "x") {
		expression = "^(?:" + expression + ")$"
	}
	if has(flags, "i") {
		expression = "(?i)" + expression
	}
	wanted, err := regexp.Compile(expression)
	if err != nil {
		c.Fail("%v", err)
		return 2
	}
	lines, status := c.lines(operands)
	if status != 0 {
		return 2
	}
	most, count := len(lines), 0
	if has(flags, "m") {
		most, _ = strconv.Atoi(flags["m"])
	}
	for _, line := range lines {
		if wanted.MatchString(line) == has(flags, "v") || count == most {
			continue
		}
		count++
		if !has(flags, "q", "c") {
			fmt.Fprintln(&c.Stdout, line)
		}
	}
	if has(flags, "c") {
		fmt.Fprintln(&c.Stdout, count)
	}
	if count == 0 {
		return 1
	}
	return 0
}

func regexpMatch(expression, text string) (bool, error) { return regexp.MatchString(expression, text) }

// count is the argument of head's and tail's flags -n and -c, and of -3.
func (c *Call) count() (n int, byBytes, fromStart bool, names []string) {
	n = 10
	flags, operands := c.split("nc")
	for name := range flags {
		if digits, err := strconv.Atoi(name); err == nil {
			n = digits
		}
	}
	text := flags["n"]
	if has(flags, "c") {
		text, byBytes = flags["c"], true
	}
	if text != "" {
		fromStart = strings.HasPrefix(text, "+")
		amount, _ := size(strings.TrimPrefix(text, "+"))
		n = int(amount)
	}
	return n, byBytes, fromStart, operands
}

func head(c *Call) int {
	n, byBytes, _, names := c.count()
	if byBytes && len(names) == 1 {
		data, err := c.Machine.Files.read(c.Path(names[0]), 0, int64(n))
		if err != nil {
			return c.Fail("%s: %s", names[0], reason(err))
		}
		c.Stdout.Write(data)
		return 0
	}
	data, status := c.input(names)
	if byBytes {
		c.Stdout.Write(data[:min(n, len(data))])
		return status
	}
	for i, line := range strings.SplitAfter(string(data), "\n") {
		if i < n {
			c.Stdout.WriteString(line)
		}
	}
	return status
}

func tail(c *Call) int {
	n, byBytes, fromStart, names := c.count()
	if byBytes {
		data, status := c.input(names)
		c.Stdout.Write(data[max(0, len(data)-n):])
		return status
	}
	lines, status := c.lines(names)
	from := max(0, len(lines)-n)
	if fromStart {
		from = min(max(n-1, 0), len(lines))
	}
	for _, line := range lines[from:] {
		fmt.Fprintln(&c.Stdout, line)
	}
	return status
}

func cut(c *Call) int {
	flags, names := c.split("dfc")
	separator := flags["d"]
	if separator == "" {
		separator = "\t"
	}
	field, err := strconv.Atoi(flags["f"])
	if err != nil {
		return c.Fail("the fake cut supports -d and one -f")
	}
	lines, status := c.lines(names)
	for _, line := range lines {
		parts := strings.Split(line, separator)
		if len(parts) == 1 {
			fmt.Fprintln(&c.Stdout, line)
		} else if field <= len(parts) {
			fmt.Fprintln(&c.Stdout, parts[field-1])
		}
	}
	return status
}

func tr(c *Call) int {
	flags, sets := c.split("")
	switch {
	case has(flags, "d") && len(sets) == 1:
		c.Stdout.WriteString(strings.Map(func(r rune) rune {
			if strings.ContainsRune(unescape(sets[0]), r) {
				return -1
			}
			return r
		}, string(c.Stdin)))
	case len(sets) == 2:
		from, to := []rune(unescape(sets[0])), []rune(unescape(sets[1]))
		c.Stdout.WriteString(strings.Map(func(r rune) rune {
			if i := slices.Index(from, r); i >= 0 && len(to) > 0 {
				return to[min(i, len(to)-1)]
			}
			return r
		}, string(c.Stdin)))
	default:
		return c.Fail("the fake tr supports two sets, and -d")
	}
	return 0
}

func unescape(text string) string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00").Replace(text)
}

func sortLines(c *Call) int {
	flags, names := c.split("")
	lines, status := c.lines(names)
	slices.SortStableFunc(lines, func(a, b string) int {
		if has(flags, "n") {
			x, _ := strconv.ParseFloat(a, 64)
			y, _ := strconv.ParseFloat(b, 64)
			return int(x - y)
		}
		return strings.Compare(a, b)
	})
	if has(flags, "u") {
		lines = slices.Compact(lines)
	}
	for _, line := range lines {
		fmt.Fprintln(&c.Stdout, line)
	}
	return status
}

func wc(c *Call) int {
	flags, names := c.split("")
	data, status := c.input(names)
	var numbers []string
	for _, kind := range []struct {
		flag  string
		count int
	}{{"l", bytes.Count(data, []byte("\n"))}, {"w", len(bytes.Fields(data))}, {"c", len(data)}} {
		if has(flags, kind.flag) || len(flags) == 0 {
			numbers = append(numbers, strconv.Itoa(kind.count))
		}
	}
	fmt.Fprintln(&c.Stdout, strings.Join(append(numbers, names...), " "))
	return status
}

func seq(c *Call) int {
	first, last := 1, 0
	switch len(c.Args) {
	case 2:
		last, _ = strconv.Atoi(c.Args[1])
	case 3:
		first, _ = strconv.Atoi(c.Args[1])
		last, _ = strconv.Atoi(c.Args[2])
	default:
		return c.Fail("want one or two numbers")
	}
	for n := first; n <= last; n++ {
		fmt.Fprintln(&c.Stdout, n)
	}
	return 0
}

func ls(c *Call) int {
	flags, names := c.split("")
	if len(names) == 0 {
		names = []string{"."}
	}
	status := 0
	for _, name := range names {
		info, err := c.Machine.Files.Stat(c.Path(name))
		if err != nil {
			status = c.Fail("%s: %s", name, reason(err))
			continue
		}
		if !info.IsDir() || has(flags, "d") {
			fmt.Fprintln(&c.Stdout, name)
			continue
		}
		entries, _ := c.Machine.Files.ReadDir(c.Path(name)) // it is there
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") || has(flags, "a", "A") {
				fmt.Fprintln(&c.Stdout, e.Name())
			}
		}
	}
	return status
}

func mkdir(c *Call) int {
	flags, names := c.split("m")
	for _, name := range names {
		if _, err := c.Machine.Files.Stat(c.Path(name)); err == nil && !has(flags, "p") {
			return c.Fail("%s: File exists", name)
		}
		if err := c.Machine.Files.MkdirAll(c.Path(name)); err != nil {
			return c.Fail("%s: %s", name, reason(err))
		}
	}
	return 0
}

func rm(c *Call) int {
	flags, names := c.split("")
	status := 0
	for _, name := range names {
		if has(flags, "r", "R") {
			c.Machine.Files.RemoveAll(c.Path(name))
		} else if err := c.Machine.Files.Remove(c.Path(name)); err != nil && !has(flags, "f") {
			status = c.Fail("%s: %s", name, reason(err))
		}
	}
	return status
}

func mv(c *Call) int {
	_, names := c.split("")
	if len(names) != 2 {
		return c.Fail("want two names")
	}
	if err := c.Machine.Files.Rename(c.Path(names[0]), c.Path(names[1])); err != nil {
		return c.Fail("%s: %s", names[0], reason(err))
	}
	return 0
}

func copyFile(c *Call) int {
	_, names := c.split("")
	if len(names) != 2 {
		return c.Fail("want two names")
	}
	data, status := c.input(names[:1])
	if status != 0 {
		return status
	}
	to := c.Path(names[1])
	if info, err := c.Machine.Files.Stat(to); err == nil && info.IsDir() {
		to = path.Join(to, path.Base(names[0]))
	}
	if err := c.Machine.Files.WriteFile(to, data); err != nil {
		return c.Fail("%s: %s", names[1], reason(err))
	}
	return 0
}

func touch(c *Call) int {
	_, names := c.split("")
	for _, name := range names {
		if err := c.Machine.Files.Append(c.Path(name), nil); err != nil {
			return c.Fail("%s: %s", name, reason(err))
		}
	}
	return 0
}

func truncate(c *Call) int {
	flags, names := c.split("s")
	n, err := size(flags["s"])
	if err != nil {
		return c.Fail("-s %s: invalid number", flags["s"])
	}
	for _, name := range names {
		if err := c.Machine.Files.Truncate(c.Path(name), n); err != nil {
			return c.Fail("%s: %s", name, reason(err))
		}
	}
	return 0
}

func stat(c *Call) int {
	flags, names := c.split("c")
	for _, name := range names {
		info, err := c.Machine.Files.Stat(c.Path(name))
		if err != nil {
			return c.Fail("%s: %s", name, reason(err))
		}
		fmt.Fprintln(&c.Stdout, strings.NewReplacer("%s", fmt.Sprint(info.Size()), "%n", name, "%Y", fmt.Sprint(info.ModTime().Unix()), "%y", info.ModTime().String(),
			"%b", fmt.Sprint(info.Size()/512), "%d:%i", "1:"+name).Replace(flags["c"]))
	}
	return 0
}

func pathPart(part func(string) string) Program {
	return func(c *Call) int {
		for _, name := range c.Args[1:] {
			fmt.Fprintln(&c.Stdout, part(name))
		}
		return 0
	}
}

func id(c *Call) int {
	if c.Args[0] == "id" && slices.Contains(c.Args, "-u") {
		fmt.Fprintln(&c.Stdout, 0)
	} else {
		fmt.Fprintln(&c.Stdout, "root")
	}
	return 0
}

func sleep(c *Call) int {
	if len(c.Args) != 2 {
		return c.Fail("want a number of seconds")
	}
	seconds, err := strconv.ParseFloat(strings.TrimSuffix(c.Args[1], "s"), 64)
	if err != nil {
		return c.Fail("invalid number %s", c.Args[1])
	}
	c.Sleep(time.Duration(seconds * float64(time.Second)))
	return 0
}

func date(c *Call) int { return Date(c, time.Now()) }

// Date is the program date at a time.
func Date(c *Call, now time.Time) int {
	for _, a := range c.Args[1:] {
		if format, ok := strings.CutPrefix(a, "+"); ok {
			fmt.Fprintln(&c.Stdout, strings.NewReplacer("%s", fmt.Sprint(now.Unix()), "%N", fmt.Sprintf("%09d", now.Nanosecond()),
				"%6N", fmt.Sprintf("%06d", now.Nanosecond()/1000), "%F", now.Format(time.DateOnly), "%T", now.Format(time.TimeOnly)).Replace(format))
			return 0
		}
	}
	fmt.Fprintln(&c.Stdout, now.Format(time.UnixDate))
	return 0
}

// named are the processes that killall, pidof and the like mean.
func (c *Call) named(names []string) func(*Process) bool {
	return func(p *Process) bool { return slices.Contains(names, p.Name) && p.Name != c.Args[0] }
}

func killByName(c *Call) int {
	var names []string
	probe := false
	for _, a := range c.Args[1:] {
		if strings.HasPrefix(a, "-") {
			probe = probe || a == "-0"
			continue
		}
		names = append(names, a)
	}
	count := len(slices.DeleteFunc(c.Machine.Processes(), func(p *Process) bool { return !c.named(names)(p) }))
	if !probe {
		count = c.Machine.Kill(c.named(names))
	}
	if count == 0 {
		return c.Fail("%s: no process found", strings.Join(names, " "))
	}
	return 0
}

func pgrep(c *Call) int {
	_, names := c.split("")
	found := false
	for _, p := range c.Machine.Processes() {
		if c.named(names)(p) {
			fmt.Fprintln(&c.Stdout, p.PID)
			found = true
		}
	}
	if !found {
		return 1
	}
	return 0
}

func kill(c *Call) int {
	status := 0
	for _, a := range c.Args[1:] {
		pid, err := strconv.Atoi(a)
		if err != nil || pid <= 0 {
			continue
		}
		if slices.Contains(c.Args, "-0") {
			if !slices.ContainsFunc(c.Machine.Processes(), func(p *Process) bool { return p.PID == pid }) {
				status = c.Fail("%d: No such process", pid)
			}
		} else if c.Machine.Kill(func(p *Process) bool { return p.PID == pid }) == 0 {
			status = c.Fail("%d: No such process", pid)
		}
	}
	return status
}

func ps(c *Call) int {
	for _, p := range c.Machine.Processes() {
		fmt.Fprintf(&c.Stdout, "%5d root %s\n", p.PID, p.Name)
	}
	return 0
}

func test(c *Call) int {
	args := c.Args[1:]
	if c.Args[0] == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			return c.Fail("missing ]")
		}
		args = args[:len(args)-1]
	}
	holds, err := c.holds(args)
	switch {
	case err != nil:
		c.Fail("%v", err)
		return 2
	case holds:
		return 0
	}
	return 1
}

// holds evaluates the condition of test.
func (c *Call) holds(args []string) (bool, error) {
	if len(args) > 0 && args[0] == "!" {
		holds, err := c.holds(args[1:])
		return !holds, err
	}
	switch len(args) {
	case 0:
		return false, nil
	case 1:
		return args[0] != "", nil
	case 2:
		return c.holdsFor(args[0], args[1])
	case 3:
		return compare(args[0], args[1], args[2])
	}
	return false, fmt.Errorf("the fake test does not support: %s", strings.Join(args, " "))
}

func (c *Call) holdsFor(operator, operand string) (bool, error) {
	switch operator {
	case "-n":
		return operand != "", nil
	case "-z":
		return operand == "", nil
	}
	info, err := c.Machine.Files.Stat(c.Path(operand))
	there := err == nil
	switch operator {
	case "-e", "-r", "-w", "-x":
		return there, nil
	case "-f":
		return there && info.Mode().IsRegular(), nil
	case "-d":
		return there && info.IsDir(), nil
	case "-s":
		return there && info.Size() > 0, nil
	case "-b":
		return there && info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0, nil
	case "-c":
		return there && info.Mode()&fs.ModeCharDevice != 0, nil
	case "-L", "-h", "-p", "-S":
		return false, nil
	}
	return false, fmt.Errorf("unknown operator %s", operator)
}

func compare(left, operator, right string) (bool, error) {
	switch operator {
	case "=", "==":
		return left == right, nil
	case "!=":
		return left != right, nil
	}
	x, err := strconv.ParseInt(left, 10, 64)
	if err != nil {
		return false, fmt.Errorf("%s: not a number", left)
	}
	y, err := strconv.ParseInt(right, 10, 64)
	if err != nil {
		return false, fmt.Errorf("%s: not a number", right)
	}
	switch operator {
	case "-eq":
		return x == y, nil
	case "-ne":
		return x != y, nil
	case "-lt":
		return x < y, nil
	case "-le":
		return x <= y, nil
	case "-gt":
		return x > y, nil
	case "-ge":
		return x >= y, nil
	}
	return false, fmt.Errorf("unknown operator %s", operator)
}
