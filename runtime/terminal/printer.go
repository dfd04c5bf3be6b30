// SPDX-License-Identifier: Apache-2.0

// Package terminal writes output for the user: a run's records as lines, tables and
// failures, progress of long operations, and text wrapped to the terminal's width.
//
//	printer := terminal.New(os.Stderr, terminal.Options{Color: terminal.Coloured(os.Stderr)})
//	log := slog.New(slog.NewMultiHandler(folder.Handler(), printer))
//	printer.Table(result.Outcomes(folder.Dir()))
//
// Write errors are ignored.
package terminal

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// Options are the options of a Printer.
type Options struct {
	Color   bool       // see [Coloured]
	Width   func() int // current columns; nil, or a result below 20: 80
	Verbose bool       // records from Debug on, else from Info on
	Brief   bool       // records from Warn on and output of the scenario, unless Verbose
}

// Printer prints the run for the user: one line per record (it is a slog.Handler),
// and a table at the end.
//
//	 0.4s  host1 src vm1  guest started boot=2.1s
//	12.9s  host2 dst vm1  guest is active
//
// Host, side and VM are in columns that grow with the names. On narrow terminals
// they are shortened in favour of the message. From the second variant on, lines
// start with the variant's number. Its methods may be called by any goroutine.
type Printer struct {
	*result.Listener
	screen *screen
}

// screen is the output of a Printer.
type screen struct {
	opts    Options
	started time.Time

	mu       sync.Mutex
	w        io.Writer
	hosts    []string // in order of appearance, for their colours
	variants map[string]bool
	columns  [columnCount]int // widths
}

// The columns between the time and the message.
const (
	columnVariant = iota
	columnHost
	columnSide
	columnVM
	columnCount
)

// New returns a Printer that writes to w; its clock starts now. Errors of w are
// ignored.
func New(w io.Writer, opts Options) *Printer {
	s := &screen{opts: opts, started: time.Now(), w: w, variants: map[string]bool{}}
	minLevel := slog.LevelInfo
	if opts.Verbose {
		minLevel = slog.LevelDebug
	}
	return &Printer{result.Listen(minLevel, s.handle), s}
}

func (s *screen) handle(e result.Event) {
	if s.opts.Brief && !s.opts.Verbose && e.Level < slog.LevelWarn && e.Fields.Get(result.AtKey) == nil {
		return
	}
	s.draw(&e)
}

// Colours, as select-graphic-rendition codes.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

var hostColors = []string{"36", "35", "34", "33", "32"}

const (
	minWidth  = 20
	narrow    = 60 // below it, the columns are not padded
	maxColumn = 16
)

func (s *screen) width() int {
	if s.opts.Width == nil {
		return defaultColumns
	}
	if w := s.opts.Width(); w >= minWidth {
		return w
	}
	return defaultColumns
}

func (s *screen) paint(color, text string) string {
	if !s.opts.Color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (s *screen) draw(e *result.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	width := s.width()
	elapsed := fmt.Sprintf("%6s", clock(e.Time.Sub(s.started)))
	cells, colors := s.cells(e)

	var head strings.Builder // without colours, to know its width
	var drawn strings.Builder
	add := func(color, text string) {
		head.WriteString(text)
		drawn.WriteString(s.paint(color, text))
	}
	add(dim, elapsed)
	for i, cell := range cells {
		if width < narrow {
			if cell != "" {
				add("", " ")
				add(colors[i], Shorten(cell, 8))
			}
			continue
		}
		if len(cell) > 0 {
			s.columns[i] = min(max(s.columns[i], Columns(cell)), maxColumn)
		}
		if s.columns[i] > 0 {
			add("", " ")
			cell = Shorten(cell, s.columns[i])
			add(colors[i], cell)
			add("", strings.Repeat(" ", s.columns[i]-Columns(cell)))
		}
	}
	gap := "  "
	indent := Columns(head.String()) + len(gap)
	if indent > width/2 { // the message starts on a new line
		gap, indent = "\n    ", 4
	}
	text := e.Lines()
	levelColor := ""
	switch {
	case e.Level >= slog.LevelError:
		text[0], levelColor = "ERROR: "+text[0], red
	case e.Level >= slog.LevelWarn:
		text[0], levelColor = "WARN: "+text[0], yellow
	case e.Level < slog.LevelInfo:
		levelColor = dim
	}
	for _, line := range text {
		for _, part := range Wrap(line, width-indent) {
			drawn.WriteString(gap)
			gap = strings.Repeat(" ", indent)
			drawn.WriteString(s.paint(levelColor, part))
			drawn.WriteByte('\n')
		}
	}
	_, _ = io.WriteString(s.w, drawn.String())
}

// cells returns the record's columns and their colours.
func (s *screen) cells(e *result.Event) (cells, colors [columnCount]string) {
	if e.Variant != "" {
		s.variants[e.Variant] = true
	}
	if len(s.variants) > 1 {
		number, _, _ := strings.Cut(e.Variant, "-")
		cells[columnVariant] = printable.Line(number)
	}
	cells[columnHost] = printable.Line(e.Host)
	cells[columnVM] = printable.Line(e.VM)
	switch e.Side {
	case "source":
		cells[columnSide] = "src"
	case "destination":
		cells[columnSide] = "dst"
	default:
		cells[columnSide] = printable.Line(e.Side)
	}
	colors[columnVariant] = dim
	color := s.hostColor(e.Host)
	colors[columnHost], colors[columnSide], colors[columnVM] = color, color, bold
	return cells, colors
}

func (s *screen) hostColor(host string) string {
	if host == "" {
		return ""
	}
	for i, known := range s.hosts {
		if known == host {
			return hostColors[i%len(hostColors)]
		}
	}
	s.hosts = append(s.hosts, host)
	return hostColors[(len(s.hosts)-1)%len(hostColors)]
}

// maxRows is how many variants a table shows. When there are more, those that
// passed are left out.
const maxRows = 60

// Table prints the variants' outcomes, and a last line with totals. It iterates over
// outcomes twice.
func (p *Printer) Table(outcomes iter.Seq2[result.Outcome, error]) {
	s := p.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	width := s.width()
	nameWidth, numbered := len("VARIANT"), len("VARIANT")
	counts := map[result.Status]int{}
	total := 0
	for o := range outcomes { //nolint:errcheck // the second iteration shows errors
		total++
		counts[o.Status]++
		nameWidth, numbered = max(nameWidth, Columns(tableName(o, false))), max(numbered, Columns(tableName(o, true)))
	}
	if total > 1 {
		nameWidth = numbered
	}
	nameWidth = min(nameWidth, max(width-len("ERROR    1h02m03s "), len("VARIANT")))
	hidden := 0

	var b strings.Builder
	b.WriteByte('\n')
	b.WriteString(s.paint(bold, fmt.Sprintf("%-*s  %-7s %8s", nameWidth, "VARIANT", "STATUS", "TIME")))
	b.WriteByte('\n')
	for o, err := range outcomes {
		if total > maxRows && o.Status == result.Pass && err == nil {
			hidden++
			continue
		}
		name := tableName(o, total > 1)
		if Columns(name) > nameWidth { // not shortened, so that it can be copied
			b.WriteString(name + "\n")
			name = ""
		}
		b.WriteString(name + strings.Repeat(" ", nameWidth-Columns(name)) + "  ")
		b.WriteString(s.paint(statusColor(o.Status), fmt.Sprintf("%-7s", o.Status)))
		fmt.Fprintf(&b, " %8s\n", clock(time.Duration(o.Seconds*float64(time.Second))))
		messages := tableMessages(o)
		if err != nil {
			messages = append(messages, "not readable: "+printable.Line(err.Error()))
		}
		for _, message := range messages {
			for _, line := range Wrap(message, width-4) {
				b.WriteString("    " + line + "\n")
			}
		}
	}
	if hidden > 0 {
		fmt.Fprintf(&b, "(%d more passed)\n", hidden)
	}
	for _, line := range Wrap(tally(total, counts), width) {
		b.WriteString(s.paint(bold, line) + "\n")
	}
	_, _ = io.WriteString(s.w, b.String())
}

// tableName is the variant's short name after its number. The variant of a config
// without variants blocks has no name.
func tableName(o result.Outcome, numbered bool) string {
	number := ""
	if numbered {
		number, _, _ = strings.Cut(o.ID, "-")
	}
	name := o.ShortName
	if name == "" {
		name = o.Name
	}
	if o.Repeat > 0 {
		name += fmt.Sprintf(" #%d", o.Repeat)
	}
	if label := strings.TrimSpace(number + " " + name); label != "" {
		return printable.Line(label)
	}
	return "(no name)"
}

// tableMessages are the lines below a variant: what failed, and where.
func tableMessages(o result.Outcome) []string {
	var messages []string
	if o.Message != "" {
		var where []string
		known := true // the message includes the place
		for _, word := range []string{o.Host, o.Side, o.VM, o.Phase} {
			if word != "" {
				where = append(where, word)
				known = known && strings.Contains(o.Message, word)
			}
		}
		first := o.Message
		if !known {
			first = strings.Join(where, " ") + ": " + first
		}
		if o.Position != "" {
			first = o.Position + ": " + first
		}
		messages = append(messages, first)
	}
	for _, f := range o.Further {
		messages = append(messages, "then: "+f.Message)
	}
	if q := o.Quarantine; q != nil {
		messages = append(messages, fmt.Sprintf("%s, in quarantine until %s: %s (%s)", q.Status, q.Expires.Format(time.DateOnly), q.Reason, q.Tracker))
	}
	for _, w := range o.Warnings {
		messages = append(messages, "warning: "+w)
	}
	for _, n := range o.Notices {
		messages = append(messages, "note: "+n)
	}
	var lines []string
	for _, message := range messages {
		for line := range strings.SplitSeq(strings.TrimSpace(message), "\n") {
			lines = append(lines, printable.Line(line))
		}
	}
	return lines
}

func statusColor(s result.Status) string {
	switch s {
	case result.Pass:
		return green
	case result.Fail, result.Error:
		return red
	}
	return yellow
}

// tally is "3 variants: 2 PASS, 1 FAIL".
func tally(total int, counts map[result.Status]int) string {
	var parts []string
	for status := result.Running; status <= result.Error; status++ {
		if n := counts[status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, status))
		}
	}
	noun := "variants"
	if total == 1 {
		noun = "variant"
	}
	return strings.TrimSuffix(fmt.Sprintf("%d %s: %s", total, noun, strings.Join(parts, ", ")), ": ")
}

// clock formats a duration: 0.4s, 59.9s, 1m02s, 1h02m03s.
func clock(d time.Duration) string {
	d = max(d, 0)
	if d < time.Minute-50*time.Millisecond {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	seconds := int(d.Round(time.Second).Seconds())
	if seconds < 3600 {
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%dh%02dm%02ds", seconds/3600, seconds/60%60, seconds%60)
}
