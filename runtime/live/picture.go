// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mhmig/mhmig/runtime/result"
)

// picture is the state of a run as far as it is drawn.
type picture struct {
	started time.Time
	planned int // 0: unknown
	ended   map[result.Status]int
	running map[string]*variant // by ID
}

// variant is one that runs.
type variant struct {
	number  string
	name    string
	began   time.Time
	phase   string        // of the variant as a whole
	sides   map[bool]side // of the migration that began last; true: the source's
	moves   map[string]result.Progress
	current int64 // number of that migration
}

// side is what a host does in a migration.
type side struct {
	host, step string
	since      time.Time
}

func newPicture(planned int, now time.Time) *picture {
	return &picture{started: now, planned: planned, ended: map[result.Status]int{}, running: map[string]*variant{}}
}

// hear changes the picture by an event. It returns the variant that has ended
// with it, if one has.
func (p *picture) hear(e result.Event) (over *variant) {
	if e.Variant == "" {
		return nil
	}
	v := p.running[e.Variant]
	if e.Step == "end" && e.Host == "" {
		var status result.Status
		said, _ := e.Fields.Get("status").(string)
		if status.UnmarshalText([]byte(said)) != nil {
			return nil
		}
		p.ended[status]++
		delete(p.running, e.Variant)
		if v == nil { // it was given up before it began
			v = newVariant(e)
		}
		return v
	}
	if v == nil {
		v = newVariant(e)
		p.running[e.Variant] = v
	}
	v.hear(e)
	return nil
}

func newVariant(e result.Event) *variant {
	number, name, _ := strings.Cut(e.Variant, "-")
	if said, _ := e.Fields.Get("name").(string); said != "" {
		name = said
	}
	return &variant{number: number, name: name, began: e.Time, phase: "begins", sides: map[bool]side{}, moves: map[string]result.Progress{}}
}

func (v *variant) hear(e result.Event) {
	number, _ := e.Fields.Get(result.MigrationKey).(int64)
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
		}
		v.sides[e.Side == "source"] = side{e.Host, strings.ReplaceAll(e.Step, "_", " "), e.Time}
		if e.Step == "mig_finished" || e.Step == "end" {
			clear(v.moves)
		}
	}
}

// run is a piece of a line, in one colour: the number of select graphic
// rendition, "" for none.
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

// mostVariants is how many variants are drawn; the totals count the others.
const mostVariants = 8

// lines draws the picture.
func (p *picture) lines(now time.Time) [][]run {
	var all [][]run
	running := slices.SortedFunc(maps.Values(p.running), func(a, b *variant) int { return strings.Compare(a.number, b.number) })
	for i, v := range running {
		if i == mostVariants {
			all = append(all, []run{{dim, fmt.Sprintf("and %d more that run", len(running)-i)}})
			break
		}
		all = append(all, v.lines(now)...)
	}
	return append(all, p.totals(now))
}

func (v *variant) lines(now time.Time) [][]run {
	head := []run{{dim, v.number + " "}, {bold, v.name}, {dim, fmt.Sprintf("  %s  ", clock(now.Sub(v.began)))}}
	source, isSource := v.sides[true]
	destination, isDestination := v.sides[false]
	switch {
	case !isSource && !isDestination:
		head = append(head, run{plain, v.phase})
	default:
		head = append(head, run{blue, source.host}, run{plain, " " + source.step}, run{dim, "  →  "}, run{blue, destination.host}, run{plain, " " + destination.step})
	}
	all := [][]run{head}
	for _, vm := range slices.Sorted(maps.Keys(v.moves)) {
		all = append(all, moveLine(vm, v.moves[vm]))
	}
	return all
}

// end is the line that stays of a variant that is over.
func (v *variant) end(e result.Event) []run {
	var status result.Status
	said, _ := e.Fields.Get("status").(string)
	_ = status.UnmarshalText([]byte(said)) // hear has read it
	line := []run{{statusColor(status), fmt.Sprintf("%-6s ", status)}, {dim, v.number + " "}, {plain, v.name}, {dim, "  " + clock(e.Time.Sub(v.began))}}
	if because, _ := e.Fields.Get("because").(string); because != "" {
		first, _, _ := strings.Cut(because, "\n")
		line = append(line, run{plain, "  " + first})
	}
	return line
}

// barWidth is the length of a progress bar.
const barWidth = 16

func moveLine(vm string, p result.Progress) []run {
	part := 0.0
	if p.Total > 0 && p.Pass > 0 {
		part = min(max(1-float64(p.Remaining)/float64(p.Total), 0), 1)
	}
	full := int(part * barWidth)
	line := []run{
		{plain, fmt.Sprintf("    %-5s ", vm)}, {green, strings.Repeat("█", full)}, {dim, strings.Repeat("░", barWidth-full)},
		{plain, fmt.Sprintf(" %3.0f%%  %s sent, %s left", 100*part, size(float64(p.Transferred)), size(float64(p.Remaining)))},
		{dim, fmt.Sprintf("  %s/s  dirty %s/s  pass %d", size(p.Rate), size(p.Dirty), p.Pass)},
	}
	if p.Status != "active" && p.Status != "" {
		line = append(line, run{yellow, "  " + p.Status})
	}
	return line
}

// totals is the last line: how many have ended how, and how long the rest takes.
func (p *picture) totals(now time.Time) []run {
	ended := 0
	for _, n := range p.ended {
		ended += n
	}
	count := fmt.Sprintf("%d variants over", ended)
	if p.planned > 0 {
		count = fmt.Sprintf("%d of %d variants over", ended, p.planned)
	}
	line := []run{{bold, count}}
	for status := result.Pass; status <= result.Error; status++ {
		if n := p.ended[status]; n > 0 {
			line = append(line, run{statusColor(status), fmt.Sprintf("  %d %s", n, status)})
		}
	}
	line = append(line, run{plain, fmt.Sprintf("  %d running", len(p.running))}, run{dim, "  " + clock(now.Sub(p.started))})
	ran := ended - p.ended[result.Skip] - p.ended[result.Cancel] // the others took no time
	if left := p.planned - ended; ran > 0 && left > 0 {
		rest := time.Duration(float64(now.Sub(p.started)) / float64(ran) * float64(left))
		line = append(line, run{dim, ", about " + clock(rest) + " left"})
	}
	return line
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
		text := []rune(strings.Map(printable, r.text))
		if len(text) > width {
			text = text[:max(width, 0)]
		}
		width -= len(text)
		if !color || r.color == plain || len(text) == 0 {
			b.WriteString(string(text))
			continue
		}
		b.WriteString("\x1b[" + r.color + "m" + string(text) + "\x1b[0m")
	}
	return b.String()
}

// printable keeps what a guest has said from moving the cursor.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
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

// size is bytes for a person: 81M, 1.2G.
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
