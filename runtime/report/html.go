// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/result"
)

//go:embed page
var pageFiles embed.FS

// page is the HTML page. Its data are JSON in script elements that are not executed:
// for each variant, one with its row of the table, and one with its details, which
// is parsed when they are opened.
var page = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(pageFile("page.css")) },
	"script": func() template.JS {
		return template.JS(pageFile("plots.js") + pageFile("timeline.js") + pageFile("page.js"))
	},
}).ParseFS(pageFiles, "page/page.html"))

func pageFile(name string) string {
	data, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // embedded
	}
	return string(data)
}

// Limits of the page for each variant, and for all logs and other files together;
// variants that are not OK have a separate budget.
const (
	logLines   = 200
	logBytes   = 32 << 10
	fileBytes  = 8 << 10
	goodLogs   = 2 << 20
	badLogs    = 8 << 20
	maxPoints  = 300 // of a plot
	sparkSteps = 72
)

// The page's data.
type (
	// row is a variant in the table.
	row struct {
		ID      string        `json:"id"`
		Name    string        `json:"name"`
		Label   string        `json:"label"`
		Status  result.Status `json:"status"`
		Seconds float64       `json:"seconds"`
		Hosts   []string      `json:"hosts,omitempty"`
		Message string        `json:"message,omitempty"`
		Moves   []spark       `json:"moves,omitempty"`
	}
	// spark is a sparkline of a migration, with the maximum values, from which all
	// plots of a run get the same scale.
	spark struct {
		series
		Downtime float64 `json:"down"`
		Guest    int64   `json:"guest,omitzero"` // the downtime by the guest's clock
		End      float64 `json:"end"`            // ms
		Total    float64 `json:"total"`          // bytes
		Peak     float64 `json:"peak"`           // of both rates, bytes per second
		Pause    int64   `json:"pause"`          // the longest one, ms
		Last     float64 `json:"last"`           // as in plot
	}
	// detail is a variant without its row.
	detail struct {
		variant
		Plots    []plot            `json:"plots,omitempty"`
		Timeline []span            `json:"timeline,omitempty"`
		Params   map[string]string `json:"params,omitempty"`  // that differ from the first variant's
		Without  []string          `json:"without,omitempty"` // params that only the first has
		Origins  map[string]string `json:"origins,omitempty"` // that differ from the first one's
		LogTail  string            `json:"logTail"`
		LogCut   bool              `json:"logCut"`
		VMFiles  []file            `json:"vmFiles,omitempty"`
		Texts    map[string]text   `json:"texts,omitempty"` // content of files, by path
	}
	// text is the content of a file, or its end.
	text struct {
		Text string `json:"text"`
		Cut  bool   `json:"cut,omitzero"`
	}
	// plot is one VM's migration.
	plot struct {
		series
		Migration int     `json:"migration"`
		VM        string  `json:"vm"`
		Total     float64 `json:"total"` // bytes of RAM
		Start     float64 `json:"start"` // ms after the variant began
		End       float64 `json:"end"`   // ms after Start
		Downtime  float64 `json:"down"`
		Guest     int64   `json:"guest,omitzero"`
		Pauses    []pause `json:"pauses,omitempty"`
		Last      float64 `json:"last,omitzero"` // end of the plotted pauses, ms after Start
	}
	// pause is a time without a stamp of the guest's clock, beyond the period.
	pause struct {
		End    float64 `json:"t"`    // ms after the migration began
		Length int64   `json:"long"` // ms
		Gap    int64   `json:"gap"`  // the part of it in which the guest's clock ran
	}
	// series are the samples, by ms after the migration began.
	series struct {
		Time      []float64 `json:"t"`
		Remaining []float64 `json:"left"`
		Rate      []float64 `json:"rate,omitempty"`
		Dirty     []float64 `json:"dirty"`
		Pass      []int     `json:"pass,omitempty"`
	}
	// span is a result.Span with times in ms after the variant began.
	span struct {
		Kind      result.Kind `json:"k"`
		Name      string      `json:"n"`
		Host      string      `json:"h,omitempty"`
		Side      string      `json:"s,omitempty"`
		VM        string      `json:"vm,omitempty"`
		Migration int         `json:"m,omitzero"`
		From      float64     `json:"a"`
		To        float64     `json:"b"`
		Level     string      `json:"l,omitempty"`
	}
)

// HTML writes a self-contained page: the summary, a table of variants, and the details
// of each. In the results folder, it links to the logs and artifacts there; elsewhere
// it names them, and shows the embedded parts.
func HTML(w io.Writer, dir string) error {
	run, err := result.LoadRun(dir)
	if err != nil {
		return err
	}
	squares, err := squares(dir)
	if err != nil {
		return err
	}
	b := &pageBuilder{dir: dir, run: run, counts: map[result.Status]int{}, good: goodLogs, bad: badLogs}
	w = printable.EscapeCommands(w, func(c byte) string { return fmt.Sprintf(`\u%04x`, c) }) // text of others is in JSON strings
	err = page.Execute(w, struct {
		Title    string
		Run      runEntry
		Squares  []*square
		Variants iter.Seq2[row, detail]
		Remark   func() string
		Written  time.Time
	}{title(run), newRunEntry(run), squares, b.variants, func() string { return runProblem(run, b.counts).Message }, time.Now()})
	if b.err != nil {
		return b.err
	}
	return err
}

// pageBuilder iterates over the variants once.
type pageBuilder struct {
	dir    string
	run    result.Run
	counts map[result.Status]int
	err    error

	params, origins map[string]string // the first variant's
	good, bad       int               // bytes left for logs
}

func (b *pageBuilder) variants(yield func(row, detail) bool) {
	for o, err := range outcomes(b.dir) {
		if err != nil {
			b.err = err
			return
		}
		b.counts[o.Status]++
		moves, err := result.Migrations(filepath.Join(b.dir, o.ID))
		if err != nil {
			o.Warnings = append(o.Warnings, fmt.Sprintf("results are incomplete: %v", err))
		}
		d := b.detail(o, moves)
		r := row{
			ID: o.ID, Name: o.Name, Label: label(o), Status: o.Status, Seconds: o.Seconds, Hosts: o.Hosts, Message: excerpt.Head(o.Message, 300),
		}
		if r.Message == "" && len(o.Warnings) > 0 {
			r.Message = excerpt.Head(o.Warnings[0], 300)
		}
		for i, p := range d.Plots {
			if i == maxSparks {
				break
			}
			r.Moves = append(r.Moves, newSpark(p))
		}
		if !yield(r, d) {
			return
		}
	}
}

// maxSparks limits the sparklines of one variant.
const maxSparks = 8

func (b *pageBuilder) detail(o result.Outcome, moves []result.Migration) detail {
	folder := filepath.Join(b.dir, o.ID)
	d := detail{variant: newVariant(b.dir, o, moves), VMFiles: files(b.dir, o.ID, result.VMDir)}
	since := func(t time.Time) float64 { return float64(t.Sub(o.Started).Microseconds()) / 1000 }
	for _, m := range moves {
		for _, vm := range m.VMs {
			if p, ok := newPlot(m.Number, vm, since); ok {
				d.Plots = append(d.Plots, p)
			}
		}
	}
	var timeline result.Timeline
	read(filepath.Join(folder, result.TimelineFile), &timeline)
	for _, s := range timeline {
		d.Timeline = append(d.Timeline, span{s.Kind, s.Name, s.Host, s.Side, s.VM, s.Migration, since(s.Start), since(s.End), s.Level})
	}
	var params, origins map[string]string
	read(filepath.Join(folder, result.ParamsFile), &params)
	read(filepath.Join(folder, result.OriginsFile), &origins)
	if b.params == nil {
		b.params, b.origins = params, origins
		d.Params, d.Origins = params, origins
	} else {
		d.Params, d.Origins = changedOnly(b.params, params), changedOnly(b.origins, origins)
		for key := range b.params {
			if _, has := params[key]; !has {
				d.Without = append(d.Without, key)
			}
		}
	}
	budget := &b.good
	if !o.Status.OK() {
		budget = &b.bad
	}
	d.LogTail, d.LogCut = tail(filepath.Join(folder, result.LogFile), min(logBytes, *budget))
	*budget -= len(d.LogTail)
	for _, f := range slices.Concat(d.Artifacts, d.VMFiles) {
		content, cut := tail(filepath.Join(b.dir, filepath.FromSlash(f.Path)), min(fileBytes, *budget))
		if content == "" || !utf8.ValidString(content) || strings.ContainsRune(content, 0) {
			continue // nothing to read
		}
		if d.Texts == nil {
			d.Texts = map[string]text{}
		}
		d.Texts[f.Path] = text{printable.Lines(content), cut}
		*budget -= len(content)
	}
	return d
}

// read reads a JSON file of a variant. If it is missing, as in a variant that has not
// ended, or damaged, its part of the page is empty.
func read(path string, into any) {
	if data, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(data, into)
	}
}

// changedOnly returns the entries of m that differ from base.
func changedOnly(base, m map[string]string) map[string]string {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(key, value string) bool { old, has := base[key]; return has && old == value })
	return m
}

// tail returns the last lines of a file, at most logLines and so many bytes,
// and whether there are more.
func tail(path string, bytes int) (string, bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return "", false
	}
	begin := max(0, info.Size()-int64(bytes))
	data, err := io.ReadAll(io.NewSectionReader(file, begin, int64(bytes)))
	if err != nil {
		return "", false
	}
	text := string(data)
	if begin > 0 {
		_, text, _ = strings.Cut(text, "\n") // a part of a line
	}
	lines := strings.SplitAfter(text, "\n")
	if extra := len(lines) - logLines - 1; extra > 0 {
		return strings.Join(lines[extra:], ""), true
	}
	return text, begin > 0
}

// newPlot makes a plot of the samples; ok is false when there is nothing to
// plot.
func newPlot(number int, vm result.MovedVM, since func(time.Time) float64) (p plot, ok bool) {
	f := newMoved(vm)
	p = plot{Migration: number, VM: vm.VM, Total: f.RAM, End: f.TotalTime, Downtime: f.Downtime, Guest: f.GuestDowntime}
	var counts []counted
	for i, s := range vm.Samples {
		if i == 0 {
			before, _ := s.Query["total-time"].(float64)
			p.Start = since(s.Time) - before
		}
		passed := max(0, since(s.Time)-p.Start) // by our clock: QEMU reports 0 for a moment between two states
		g := s.Progress()
		if g.Total == 0 {
			continue // before the migration began
		}
		p.add(passed, g)
		counts = append(counts, countsOf(s.Query))
		p.Total = max(p.Total, float64(g.Total))
		p.End = max(p.End, passed)
	}
	if len(p.Time) == 0 {
		return plot{}, false
	}
	if last := (result.Sample{Query: vm.Query}).Progress(); f.TotalTime > p.Time[len(p.Time)-1] && last.Total > 0 {
		p.add(f.TotalTime, last)
		counts = append(counts, countsOf(vm.Query))
	}
	p.measure(counts, f.SetupTime)
	p.series = p.thinned(maxPoints)
	if vm.Guest != nil {
		p.addPauses(vm.Guest.Gaps, since)
	}
	return p, true
}

// counted are QEMU's counters of a migration, from its start.
type counted struct {
	known bool
	sent  float64 // bytes of RAM: whole pages, also compressed ones
	bytes float64 // over the network
}

func countsOf(query map[string]any) counted {
	sample := result.Sample{Query: query}
	sent, _, known := sample.SentRAM()
	return counted{known, sent, float64(sample.Progress().Transferred)}
}

// measure replaces QEMU's rates by those between two samples. QEMU updates the dirty
// rate once a second and resets it at the end: for shorter migrations it is 0. The
// dirtied RAM of a pass is the remaining RAM plus what was sent, minus what remained
// before; it is known when the pass ends. setup is when dirty tracking starts, in ms.
func (p *plot) measure(counts []counted, setup float64) {
	if slices.ContainsFunc(counts, func(c counted) bool { return !c.known }) {
		return
	}
	for i := range counts {
		before, bytes := 0.0, 0.0
		if i > 0 {
			before, bytes = p.Time[i-1], counts[i-1].bytes
		}
		if passed := p.Time[i] - before; passed > 0 {
			p.Rate[i] = max(0, counts[i].bytes-bytes) * 1000 / passed
		}
	}
	begin, left := min(setup, p.Time[0]), p.Remaining[0]+counts[0].sent
	from, rate := 0, 0.0
	for i := range counts {
		if i == 0 || p.Pass[i] == p.Pass[i-1] {
			continue
		}
		all := p.Remaining[i] + counts[i].sent
		rate = max(0, all-left) * 1000 / max(1, p.Time[i]-begin)
		for j := from; j <= i; j++ {
			p.Dirty[j] = rate
		}
		begin, left, from = p.Time[i], all, i+1
	}
	for j := from; j < len(counts); j++ {
		p.Dirty[j] = rate // the last known rate
	}
}

// The period of the clock stamps, and the pause beyond it that is shown.
const (
	period   = 10 // ms
	minPause = 10 // ms
)

// addPauses adds the pauses that began during the migration, at most maxPoints of the
// longest. One that ends long after the migration is cut, to keep the scale.
func (p *plot) addPauses(gaps []result.ClockGap, since func(time.Time) float64) {
	if len(gaps) < 2 {
		return
	}
	span := since(gaps[1].Time) - since(gaps[0].Time)
	for _, g := range gaps {
		end := since(g.Time) + span - p.Start
		length := g.Silence - period
		if begin := end - float64(length); length > minPause && end > 0 && begin <= p.End {
			p.Pauses = append(p.Pauses, pause{end, length, min(g.Gap, length)}) // the clock may jump
			p.Last = min(end, p.End*1.25)
		}
	}
	if len(p.Pauses) > maxPoints {
		slices.SortFunc(p.Pauses, func(a, b pause) int { return cmp.Compare(b.Length, a.Length) })
		p.Pauses = p.Pauses[:maxPoints]
		slices.SortFunc(p.Pauses, func(a, b pause) int { return cmp.Compare(a.End, b.End) })
	}
}

func (s *series) add(at float64, g result.Progress) {
	s.Time = append(s.Time, at)
	s.Remaining = append(s.Remaining, float64(g.Remaining))
	s.Rate = append(s.Rate, g.Rate)
	s.Dirty = append(s.Dirty, g.Dirty)
	s.Pass = append(s.Pass, g.Pass)
}

// thinned returns at most about n of the points: of each interval those with the
// minimum and maximum values, so that no peak is lost.
func (s series) thinned(n int) series {
	if len(s.Time) <= n {
		return s
	}
	curves := [][]float64{s.Remaining, s.Rate, s.Dirty}
	stretches := max(1, n/(2*len(curves)))
	keep := make([]bool, len(s.Time))
	keep[0], keep[len(keep)-1] = true, true
	for i := range stretches {
		from, to := i*len(s.Time)/stretches, (i+1)*len(s.Time)/stretches
		for _, curve := range curves {
			least, most := from, from
			for j := from; j < to; j++ {
				if curve[j] < curve[least] {
					least = j
				}
				if curve[j] > curve[most] {
					most = j
				}
			}
			keep[least], keep[most] = true, true
		}
	}
	var out series
	for i, kept := range keep {
		if kept {
			out.Time = append(out.Time, s.Time[i])
			out.Remaining = append(out.Remaining, s.Remaining[i])
			out.Rate = append(out.Rate, s.Rate[i])
			out.Dirty = append(out.Dirty, s.Dirty[i])
			out.Pass = append(out.Pass, s.Pass[i])
		}
	}
	return out
}

func newSpark(p plot) spark {
	s := spark{series: p.thinned(sparkSteps), Downtime: p.Downtime, Guest: p.Guest, End: p.End, Total: p.Total, Last: p.Last}
	for i := range p.Time {
		s.Peak = max(s.Peak, p.Rate[i], p.Dirty[i])
	}
	for _, pause := range p.Pauses {
		s.Pause = max(s.Pause, pause.Length)
	}
	s.Rate, s.Pass = nil, nil // not drawn
	return s
}
