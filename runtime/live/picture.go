// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// picture is the state of a run that is drawn.
type picture struct {
	started time.Time
	planned int // 0: unknown
	ended   map[result.Status]int
	running map[string]*variant // by ID
}

// variant is a running variant.
type variant struct {
	number    string
	name      string
	began     time.Time
	phase     string        // of the variant as a whole
	sides     map[bool]side // of the latest migration; true: the source's
	moves     map[string]result.Progress
	predicted map[string]result.Prediction // by VM: whether its move converges, and when
	current   int64                        // number of that migration
}

// side is the state of a host in a migration.
type side struct {
	host, step string
	since      time.Time
}

func newPicture(planned int, now time.Time) *picture {
	return &picture{started: now, planned: planned, ended: map[result.Status]int{}, running: map[string]*variant{}}
}

// handle updates the picture with an event. It returns the variant that has ended
// with it, if any.
func (p *picture) handle(e result.Event) (over *variant) {
	if e.Variant == "" {
		return nil
	}
	v := p.running[e.Variant]
	if e.Step == "end" && e.Host == "" {
		var status result.Status
		text, _ := e.Fields.Get("status").(string)
		if status.UnmarshalText([]byte(text)) != nil {
			return nil
		}
		p.ended[status]++
		delete(p.running, e.Variant)
		if v == nil { // cancelled before it began
			v = newVariant(e)
		}
		return v
	}
	if v == nil {
		v = newVariant(e)
		p.running[e.Variant] = v
	}
	v.update(e)
	return nil
}

func newVariant(e result.Event) *variant {
	number, name, _ := strings.Cut(e.Variant, "-")
	if text, _ := e.Fields.Get("name").(string); text != "" {
		name = text
	}
	return &variant{number: number, name: name, began: e.Time, phase: "begins", sides: map[bool]side{}, moves: map[string]result.Progress{}, predicted: map[string]result.Prediction{}}
}

func (v *variant) update(e result.Event) {
	number, _ := e.Fields.Get(result.MigrationKey).(int64)
	if p, is := e.Prediction(); is && e.VM != "" {
		v.predicted[e.VM] = p
	}
	switch {
	case e.Level == result.LevelProgress && e.VM != "":
		v.moves[e.VM] = e.Progress()
	case e.Step == "":
	case e.Side == "":
		v.phase = strings.ReplaceAll(e.Step, "_", " ")
		clear(v.sides)
		clear(v.moves)
	case number >= v.current:
		if number > v.current {
			v.current = number
			clear(v.sides)
			clear(v.predicted)
		}
		v.sides[e.Side == "source"] = side{e.Host, strings.ReplaceAll(e.Step, "_", " "), e.Time}
		if e.Step == "mig_finished" || e.Step == "end" {
			clear(v.moves)
		}
	}
}

// run is a part of a line in one colour: the parameter of SGR (select graphic
// rendition), "" for none.
type run struct{ color, text string }

// The colours.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "36"
)

// maxVariants is how many variants are drawn; the totals include the others.
const maxVariants = 8

// lines draws the picture for a number of columns and rows, at least one row.
func (p *picture) lines(now time.Time, width, rows int) [][]run {
	var all [][]run
	running := slices.SortedFunc(maps.Values(p.running), byNumber)
	room := rows - 1 // for the totals
	for i, v := range running {
		vLines := [][]run{v.head(now, width)}
		for _, vm := range slices.Sorted(maps.Keys(v.moves)) {
			vLines = append(vLines, moveLine(vm, v.moves[vm], v.predictionOf(vm), width))
		}
		last := i == len(running)-1
		if i == maxVariants || len(all)+len(vLines) > room || !last && len(all)+len(vLines) == room {
			if len(all) < room {
				all = append(all, []run{{dim, fmt.Sprintf("and %d more running", len(running)-i)}})
			}
			break
		}
		all = append(all, vLines...)
	}
	return append(all, p.totals(now, width))
}

// byNumber orders variants by number: 1000 comes after 999.
func byNumber(a, b *variant) int {
	first, _ := strconv.Atoi(a.number) // other text comes first
	second, _ := strconv.Atoi(b.number)
	return cmp.Or(cmp.Compare(first, second), strings.Compare(a.number, b.number))
}

// The minimum widths of a variant's name and a host before other parts are shortened.
const (
	minName    = 16
	narrowName = 8
	narrowHost = 8
)

// head is a variant's first line. The name is shortened, then the hosts, and then both
// are omitted, so that the time and the steps of both sides remain.
func (v *variant) head(now time.Time, width int) []run {
	elapsed := clock(now.Sub(v.began))
	for _, form := range []struct {
		gap, arrow string
		leastName  int
		host       func(string) string
	}{{"  ", "  →  ", minName, fullHost}, {" ", " → ", minName, withoutDomain}, {" ", " → ", narrowName, shortHost}, {" ", " → ", narrowName, nil}} {
		number, rest := run{dim, v.number + " "}, append([]run{{dim, form.gap + elapsed + form.gap}}, v.activity(form.host, form.arrow)...)
		room := width - columns(number) - columns(rest...)
		if room >= min(form.leastName, columns(run{text: v.name})) {
			return append([]run{number, {bold, shortened(v.name, room)}}, rest...)
		}
	}
	line := []run{{dim, v.number + " " + elapsed + " "}}
	doing := v.activity(nil, " → ")
	if room := width - columns(line...) - columns(doing...); room < 0 && len(doing) > 1 { // both steps are shortened equally
		both := columns(doing...) + room - columns(doing[1])
		first := max(both-columns(doing[2]), both/2)
		doing[0].text = shortened(doing[0].text, first)
		doing[2].text = shortened(doing[2].text, both-columns(doing[0]))
	}
	return append(line, doing...)
}

// The forms of a host's name, by the available width.
func fullHost(host string) string { return host }

func withoutDomain(host string) string {
	if name, _, _ := strings.Cut(host, "."); net.ParseIP(host) == nil && name != "" {
		return name
	}
	return host
}

func shortHost(host string) string { return shortened(withoutDomain(host), narrowHost) }

// activity is a variant's current activity: each side's host, if wanted, and step.
func (v *variant) activity(host func(string) string, arrow string) []run {
	source, isSource := v.sides[true]
	destination, isDestination := v.sides[false]
	if !isSource && !isDestination {
		return []run{{plain, v.phase}}
	}
	if host == nil {
		return []run{{plain, source.step}, {dim, arrow}, {plain, destination.step}}
	}
	return []run{
		{blue, host(source.host)},
		{plain, " " + source.step},
		{dim, arrow},
		{blue, host(destination.host)},
		{plain, " " + destination.step},
	}
}

// end is the permanent line of a variant that has ended.
func (v *variant) end(e result.Event, width int) []run {
	var status result.Status
	text, _ := e.Fields.Get("status").(string)
	_ = status.UnmarshalText([]byte(text)) // handle has checked it
	head := []run{{statusColor(status), fmt.Sprintf("%-6s ", status)}, {dim, v.number + " "}}
	tail := []run{{dim, "  " + clock(e.Time.Sub(v.began))}}
	room := width - columns(head...) - columns(tail...)
	if because, _ := e.Fields.Get("because").(string); because != "" {
		first, _, _ := strings.Cut(because, "\n")
		why := run{plain, "  " + first}
		tail = append(tail, why)
		room -= min(columns(why), width/3)
	}
	return append(append(head, run{plain, shortened(v.name, room)}), tail...)
}

// The width of a progress bar, and of the VM's name before it.
const (
	minBar = 6
	maxBar = 16
	maxVM  = 12
)

// predictionOf is what was predicted last of a VM's move, nil if nothing was.
func (v *variant) predictionOf(vm string) *result.Prediction {
	if p, ok := v.predicted[vm]; ok {
		return &p
	}
	return nil
}

// moveLine is the progress bar of a VM. If there is no space for all figures, it keeps
// those that show how long it will take.
func moveLine(vm string, p result.Progress, predicted *result.Prediction, width int) []run {
	part := 0.0
	if p.Total > 0 && p.Pass > 0 {
		part = min(max(1-float64(p.Remaining)/float64(p.Total), 0), 1)
	}
	name := shortened(vm, maxVM)
	name = "    " + name + strings.Repeat(" ", max(5-columns(run{text: name}), 0)+1)
	// The figures in their order, with the rank by which they are omitted.
	figures := []figure{
		{run{plain, fmt.Sprintf(" %3.0f%%", 100*part)}, 7},
		{run{plain, fmt.Sprintf("  %s left", size(float64(p.Remaining)))}, 6},
		{run{plain, fmt.Sprintf(", %s sent", size(float64(p.Transferred)))}, 1},
		{run{dim, fmt.Sprintf("  %s/s", size(p.Rate))}, 4},
		{run{dim, fmt.Sprintf("  dirty %s/s", size(p.Dirty))}, 3},
		{run{dim, fmt.Sprintf("  pass %d", p.Pass)}, 2},
	}
	if p.Status != "active" && p.Status != "" {
		figures = append(figures, figure{run{yellow, "  " + p.Status}, 5})
	}
	switch {
	case p.Diverges():
		figures = append(figures, figure{run{yellow, "  does not converge"}, 5})
	case predicted == nil:
	case predicted.Converges:
		figures = append(figures, figure{run{dim, "  about " + clock(predicted.Time()) + " in all"}, 3})
	default:
		figures = append(figures, figure{run{yellow, "  will not converge"}, 5})
	}
	room := width - columns(run{text: name})
	kept := texts(fit(fit(figures, room-minBar, 2), room, 1)) // two figures are more important than the bar
	bar := min(max(room-columns(kept...), 0), maxBar)
	full := int(part * float64(bar))
	return append([]run{{plain, name}, {green, strings.Repeat("█", full)}, {dim, strings.Repeat("░", bar-full)}}, kept...)
}

// totals is the last line: counts by status, and the estimated time left. A narrow
// terminal keeps that and the elapsed time.
func (p *picture) totals(now time.Time, width int) []run {
	ended := 0
	for _, n := range p.ended {
		ended += n
	}
	elapsed, left := clock(now.Sub(p.started)), ""
	ran := ended - p.ended[result.Skip] - p.ended[result.Cancel] // these took no time
	if n := p.planned - ended; ran > 0 && n > 0 {
		left = clock(time.Duration(float64(now.Sub(p.started)) / float64(ran) * float64(n)))
	}
	long := p.totalsIn("  ", "%d of %d variants done", "%d variants done", ", about ", ended, elapsed, left)
	if columns(texts(long)...) <= width {
		return texts(long)
	}
	return texts(fit(p.totalsIn(" ", "%d/%d", "%d done", ", ~", ended, elapsed, left), width, 1))
}

// totalsIn returns the totals with the given wording.
func (p *picture) totalsIn(gap, of, over, about string, ended int, elapsed, left string) []figure {
	count := fmt.Sprintf(over, ended)
	if p.planned > 0 {
		count = fmt.Sprintf(of, ended, p.planned)
	}
	all := []figure{{run{bold, count}, 20}}
	for status := result.Pass; status <= result.Error; status++ {
		if n := p.ended[status]; n > 0 {
			rank := 2
			switch status {
			case result.Pass:
				rank = 3
			case result.Fail, result.Error:
				rank = 4
			}
			all = append(all, figure{run{statusColor(status), fmt.Sprintf("%s%d %s", gap, n, status)}, rank})
		}
	}
	all = append(all, figure{run{plain, fmt.Sprintf("%s%d running", gap, len(p.running))}, 1}, figure{run{dim, gap + elapsed}, 5})
	if left != "" {
		all = append(all, figure{run{dim, about + left + " left"}, 6})
	}
	return all
}

// figure is a part of a line that may be omitted, lowest rank first.
type figure struct {
	run
	rank int
}

// fit omits figures until they fit into width columns, or only stay are left.
func fit(figures []figure, width, stay int) []figure {
	for len(figures) > stay && columns(texts(figures)...) > width {
		least := 0
		for i, f := range figures {
			if f.rank <= figures[least].rank {
				least = i
			}
		}
		figures = slices.Delete(figures, least, least+1)
	}
	return figures
}

func texts(figures []figure) []run {
	var all []run
	for _, f := range figures {
		all = append(all, f.run)
	}
	return all
}

// columns is the width of parts of a line.
func columns(line ...run) int {
	n := 0
	for _, r := range line {
		n += terminal.Columns(printable.Line(r.text))
	}
	return n
}

// shortened is text in at most so many columns, without its middle.
func shortened(text string, width int) string {
	return terminal.ShortenMiddle(printable.Line(text), width)
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

// draw writes a line of at most width columns.
func draw(line []run, width int, color bool) string {
	var b strings.Builder
	for _, r := range line {
		whole := printable.Line(r.text)
		text := terminal.Cut(whole, width)
		width -= terminal.Columns(text)
		if text != whole {
			width = 0 // nothing after the cut
		}
		if !color || r.color == plain || text == "" {
			b.WriteString(text)
			continue
		}
		b.WriteString("\x1b[" + r.color + "m" + text + "\x1b[0m")
	}
	return b.String()
}

// clock is a duration in whole seconds: 4s, 1m02s, 1h02m.
func clock(d time.Duration) string {
	seconds := int(max(d, 0).Seconds())
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	default:
		return fmt.Sprintf("%dh%02dm", seconds/3600, seconds/60%60)
	}
}

// size is a human-readable number of bytes: 81M, 1.2G.
func size(bytes float64) string {
	switch {
	case bytes < 1<<10:
		return fmt.Sprintf("%.0fB", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.0fK", bytes/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.0fM", bytes/(1<<20))
	default:
		return fmt.Sprintf("%.1fG", bytes/(1<<30))
	}
}
