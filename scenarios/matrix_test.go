// SPDX-License-Identifier: Apache-2.0

package scenarios_test

import (
	"errors"
	"flag"
	"fmt"
	"html"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/stdlib"
)

// Of make test-matrix.
var (
	matrixQEMU    = flag.String("matrix", "", "run matrix.cfg on this version of QEMU, as in mhmig bootstrap --qemu; with -update, write its page anew")
	matrixResults = flag.String("matrix-results", "", "take the results of a run of matrix.cfg from this folder, in place of a new run")
)

const matrixConfig = "cfg/matrix.cfg"

// matrixPage is the file of a version of QEMU.
func matrixPage(version string) string { return "MATRIX-" + version + ".md" }

// matrixCell is where a variant of matrix.cfg is in the table.
type matrixCell struct{ row, column string }

// matrixCells expands matrix.cfg: the params of each cell, and its rows and columns in
// their order.
func matrixCells(t *testing.T) (cells map[matrixCell]cartesian.Params, rows, columns []string) {
	t.Helper()
	c, err := cartesian.ParseFS(stdlib.FS, matrixConfig)
	if err != nil {
		t.Fatal(err)
	}
	cells = map[matrixCell]cartesian.Params{}
	for v, err := range c.Variants(t.Context(), cartesian.Options{Defaults: true}) {
		if err != nil {
			t.Fatal(err)
		}
		cell := matrixCell{valuesOf(v.Params, report.MatrixRows), valuesOf(v.Params, report.MatrixColumns)}
		if cells[cell] != nil {
			t.Errorf("two variants are %v", cell)
		}
		cells[cell] = v.Params
		if !slices.Contains(rows, cell.row) {
			rows = append(rows, cell.row)
		}
		if !slices.Contains(columns, cell.column) {
			columns = append(columns, cell.column)
		}
	}
	return cells, rows, columns
}

func valuesOf(p cartesian.Params, names []string) string {
	var all []string
	for _, name := range names {
		if p[name] != "" {
			all = append(all, p[name])
		}
	}
	return strings.Join(all, " ")
}

// refusedPairs are the cells that matrix.cfg leaves out, with mhmig's reason: what it says
// about the row's params with the column's transport. A pair that it would migrate has
// been forgotten.
func refusedPairs(t *testing.T) map[matrixCell]string {
	t.Helper()
	cells, rows, columns := matrixCells(t)
	refused := map[matrixCell]string{}
	bed := bedtest.NewScriptedBed(t, 1, nil)
	for _, row := range rows {
		plain := "plain" + row[strings.LastIndex(row, " "):] // with the same load
		changed := cartesian.Params{}                        // by the row, as the first transport has it that has the row
		for _, column := range columns {
			own := cells[matrixCell{row, column}]
			if own == nil {
				continue
			}
			for name, value := range own {
				if cells[matrixCell{plain, column}][name] != value {
					changed[name] = value
				}
			}
			break
		}
		for _, column := range columns {
			if cells[matrixCell{row, column}] != nil {
				continue
			}
			params := maps.Clone(cells[matrixCell{plain, column}])
			maps.Copy(params, changed)
			_, err := migration.New(bed.Bed.Bed, 1, migration.Plan{VMs: []string{"vm1"}, Source: bed.Hosts()[0], Destination: bed.Hosts()[0], Params: params})
			if err == nil {
				t.Errorf("%s over %s is not in %s, and mhmig does not refuse it", row, column, matrixConfig)
				continue
			}
			refused[matrixCell{row, column}] = err.Error()
		}
	}
	return refused
}

// refusals are the refused pairs by their reasons, as a list.
func refusals(t *testing.T) string {
	t.Helper()
	pairs := map[string][]string{} // by reason
	for cell, reason := range refusedPairs(t) {
		feature := cell.row[:strings.LastIndex(cell.row, " ")] // whatever the load is
		if pair := feature + " over " + cell.column; !slices.Contains(pairs[reason], pair) {
			pairs[reason] = append(pairs[reason], pair)
		}
	}
	var b strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(pairs)) {
		slices.Sort(pairs[reason])
		fmt.Fprintf(&b, "- %s: %s\n", printable.Markdown(reason), printable.Markdown(strings.Join(pairs[reason], ", ")))
	}
	return b.String()
}

// matrixIntro is how a page begins.
const matrixIntro = `This page is written by ` + "`make test-matrix`" + `: each cell is a variant of ` + "`@std//cfg/matrix.cfg`" + `, which moves a guest of 96 MiB
that verifies its memory by its own work. The memory was also compared on both ends, except in post-copy, and where it is
not sent, with ` + "`mig_ignore_shared`" + ` and over the transports cpr. A cell that passes has used its feature, as far as QEMU's
figures show it, but for those with a remark. Over file, a QEMU before 8.2 writes and reads its file by ` + "`exec:cat`" + `.
`

const refusalsHeading = "\n## Pairs that mhmig refuses\n\nBefore anything is started, it says:\n\n"

// Every pair is a variant of the config, or mhmig refuses it; the pages that make
// test-matrix has written have every variant, and the reason of every other pair.
func TestMatrixPages(t *testing.T) {
	t.Parallel()
	cells, rows, columns := matrixCells(t)
	var refused string
	synctest.Test(t, func(t *testing.T) { refused = refusals(t) })
	if len(cells) == 0 || refused == "" {
		t.Errorf("%d variants and the refusals %q, want some of both", len(cells), refused)
	}
	pages, err := filepath.Glob(matrixPage("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n"+matrixIntro) || !strings.Contains(string(text), fmt.Sprintf(" %d variants in", len(cells))) {
			t.Errorf("%s: it begins otherwise than with\n%sof %d variants", page, matrixIntro, len(cells))
		}
		if _, got, found := strings.Cut(string(text), refusalsHeading); !found || got != refused {
			t.Errorf("%s: the refused pairs are out of date (-want +got):\n%s", page, cmp.Diff(refused, got))
		}
		if problems := pageProblems(string(text), cells, rows, columns); problems != "" {
			t.Errorf("%s: %s\nmake test-matrix writes it anew", page, problems)
		}
	}
}

// judged is a cell of a variant: how it ended, and, unless it is a PASS, why.
var judged = regexp.MustCompile(`^(PASS \d+\.\d\d s, \d+ ms|(PASS|WARN|SKIP|FAIL|ERROR)( \d+\.\d\d s, \d+ ms)?( \\\[\d+\\\])+)( \\\[\d+\\\])*$`)

// matrixSkips are the reasons for which a pair, FEATURE over TRANSPORT, may be a SKIP: as
// regular expressions, what a QEMU or a host lacks.
var matrixSkips = []struct{ pair, reason string }{
	{"over tcp_channels$", "has no argument channels"},
	{"over exec$", "has no (socat|nc|ncat|busybox) \\(param mig_exec_program\\)"},
	{"over cpr_reboot$", "has no migration parameter mode|migration parameter mode of .* has no value cpr-reboot"},
	{"over cpr_transfer$", "migration parameter mode of .* has no value cpr-transfer"},
	{"over cpr_exec$", "migration parameter mode of .* has no value cpr-exec"},
	{"over rdma$", "mig_protocol = rdma: host\\d has no .*RDMA"},
	{"^switchover_ack", "has no migration capability switchover-ack"},
	{"^mapped_ram", "has no migration capability mapped-ram"},
	{"^tls|^multifd encrypted", "has no TLS credentials of the kind"},
	{"zero_page", "has no migration parameter zero-page-detection"},
	{"postcopy", "userfaultfd"},
	{"^postcopy preempt", "has no migration capability postcopy-preempt"},
	{"^multifd (zstd|qatzip|qpl|uadk)", "migration parameter multifd-compression of this QEMU has no value"},
	{"^multifd zero_copy", "zero-copy-send was on, but the kernel copied the memory|kernel has no zero-copy-send for mig_protocol = unix|zero-copy-send needs more locked memory|has no migration capability zero-copy-send"},
	{"^multifd with_xbzrle", "not migrated with multifd and xbzrle"},
	{"^multifd with_postcopy", "not migrated with multifd and postcopy-ram: a QEMU before 11"},
}

// maySkip says whether a pair may be a SKIP for a reason.
func maySkip(cell matrixCell, reason string) bool {
	pair := cell.row + " over " + cell.column
	for _, s := range matrixSkips {
		if regexp.MustCompile(s.pair).MatchString(pair) && regexp.MustCompile(s.reason).MatchString(reason) {
			return true
		}
	}
	return false
}

var (
	remarkLine   = regexp.MustCompile(`(?m)^(\d+)\. (.*)$`)
	remarkNumber = regexp.MustCompile(`\\\[(\d+)\\\]`)
)

// remarksOf are the texts of the page's remarks by their numbers.
func remarksOf(page string) map[string]string {
	remarks := map[string]string{}
	for _, m := range remarkLine.FindAllStringSubmatch(page, -1) {
		remarks[m[1]] = html.UnescapeString(strings.ReplaceAll(m[2], `\_`, "_"))
	}
	return remarks
}

// skipProblems are what is wrong with a cell that is a SKIP.
func skipProblems(cell matrixCell, text string, remarks map[string]string) []string {
	var reasons []string
	for _, m := range remarkNumber.FindAllStringSubmatch(text, -1) {
		if maySkip(cell, remarks[m[1]]) {
			return nil
		}
		reasons = append(reasons, remarks[m[1]])
	}
	return []string{fmt.Sprintf("%s over %s is a SKIP for no reason that its kind has: %q", cell.row, cell.column, strings.Join(reasons, "; "))}
}

// pageProblems is what is wrong with a page; "": nothing.
func pageProblems(text string, cells map[matrixCell]cartesian.Params, rows, columns []string) string {
	var table [][]string
	for line := range strings.Lines(text) {
		if fields, isRow := strings.CutPrefix(strings.TrimSpace(line), "| "); isRow && !strings.HasPrefix(fields, "-") {
			var row []string
			for field := range strings.SplitSeq(strings.TrimSuffix(fields, " |"), " | ") {
				row = append(row, strings.ReplaceAll(strings.TrimSpace(field), `\_`, "_"))
			}
			table = append(table, row)
		}
	}
	if len(table) == 0 {
		return "it has no table"
	}
	var problems []string
	if got := table[0][1:]; !slices.Equal(got, columns) {
		problems = append(problems, fmt.Sprintf("the columns are %q, those of %s are %q", got, matrixConfig, columns))
	}
	remarks := remarksOf(text)
	var found []string
	for _, row := range table[1:] {
		found = append(found, row[0])
		for i, got := range row[1:] {
			if i >= len(columns) {
				break
			}
			cell := matrixCell{row[0], columns[i]}
			switch isVariant := cells[cell] != nil; {
			case isVariant && !judged.MatchString(got) || !isVariant && got != "-":
				problems = append(problems, fmt.Sprintf("%s over %s is %q", cell.row, cell.column, got))
			case strings.HasPrefix(got, "SKIP"):
				problems = append(problems, skipProblems(cell, got, remarks)...)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(rows)), slices.Sorted(slices.Values(found))); diff != "" {
		problems = append(problems, "the rows are not those of "+matrixConfig+" (-want +got):\n"+diff)
	}
	return strings.Join(problems, "\n")
}

// A page that lacks something is found.
func TestMatrixPageProblems(t *testing.T) {
	t.Parallel()
	cells := map[matrixCell]cartesian.Params{{"plain idle", "tcp"}: {}, {"plain idle", "exec"}: {}, {"multifd zlib idle", "tcp"}: {}}
	rows, columns := []string{"plain idle", "multifd zlib idle"}, []string{"tcp", "exec"}
	const (
		head  = "| feature kind load | tcp | exec |\n| --- | --- | --- |\n"
		zlib  = "| multifd zlib idle | PASS 1.20 s, 30 ms \\[2\\] | - |\n"
		skips = head + "| plain idle | PASS 1.20 s, 30 ms | SKIP \\[1\\] |\n" + zlib + "\n"
	)
	for _, tt := range []struct{ text, want string }{
		{skips + "1. start vm1 on host1: host1 has no socat (param mig\\_exec\\_program)\n2. no reason\n", ""},
		{skips + "1. host1 has no RDMA device\n2. no reason\n", `plain idle over exec is a SKIP for no reason that its kind has: "host1 has no RDMA device"`},
		{skips + "2. host1 has no socat (param mig\\_exec\\_program)\n", `plain idle over exec is a SKIP for no reason`},
		{head + "| plain idle | PASS 1.20 s, 30 ms | SKIP |\n| multifd zlib idle | PASS 1.20 s, 30 ms | - |\n", `plain idle over exec is "SKIP"`},
		{head + "| plain idle | PASS 1.20 s, 30 ms | - |\n| multifd zlib idle | PASS 1.20 s, 30 ms | - |\n", `plain idle over exec is "-"`},
		{head + "| plain idle | PASS 1.20 s, 30 ms | PASS 1.20 s, 30 ms |\n| multifd zlib idle | PASS 1.20 s, 30 ms | PASS 1.20 s, 30 ms |\n", `multifd zlib idle over exec is "PASS`},
		{head + "| plain idle | PASS 1.20 s, 30 ms | PASS 1.20 s, 30 ms |\n", "the rows are not those of cfg/matrix.cfg"},
		{"| feature kind load | tcp |\n| --- | --- |\n", "the columns are"},
		{"nothing\n", "it has no table"},
	} {
		if got := pageProblems(tt.text, cells, rows, columns); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s\ngot %q, want %q", tt.text, got, tt.want)
		}
	}
}

// A run is of the version that was asked for, and of no other.
func TestMatrixVersion(t *testing.T) {
	t.Parallel()
	on := func(versions ...string) []result.Outcome {
		all := []result.Outcome{{}} // one that was skipped before there was a QEMU
		for i, version := range versions {
			all = append(all, result.Outcome{Machines: []result.Machine{{QEMU: map[string]string{fmt.Sprintf("host%d", i): version}}}})
		}
		return all
	}
	for _, tt := range []struct {
		asked    string
		outcomes []result.Outcome
		want     string
		err      string
	}{
		{"7.2", on("7.2.22", "7.2.22"), "7.2.22", ""},
		{"10.0.13", on("10.0.13"), "10.0.13", ""},
		{"10.0", on("7.2.22"), "", "the machines have QEMU 7.2.22, not 10.0"},
		{"1", on("10.0.13"), "", "the machines have QEMU 10.0.13, not 1"},
		{"7.2", on("7.2.22", "10.0.13"), "", "the machines have QEMU 10.0.13, 7.2.22, not 7.2"},
		{"7.2", on(), "", "the machines have QEMU , not 7.2"},
	} {
		got, err := matrixVersion(tt.outcomes, tt.asked)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: got %q, %v, want %q, %s", tt.asked, got, err, tt.want, tt.err)
		}
	}
}

// matrixVersion is the version of QEMU of a run, which has to be the one that was asked for.
func matrixVersion(ended []result.Outcome, asked string) (string, error) {
	found := map[string]bool{}
	for _, o := range ended {
		for _, m := range o.Machines {
			for _, version := range m.QEMU {
				found[version] = true
			}
		}
	}
	all := slices.Sorted(maps.Keys(found))
	if len(all) != 1 || !strings.HasPrefix(all[0]+".", asked+".") {
		return "", fmt.Errorf("the machines have QEMU %s, not %s", strings.Join(all, ", "), asked)
	}
	return all[0], nil
}

// Each pair passes, or is a SKIP for a reason of QEMU or of the hosts.
func TestMatrix(t *testing.T) {
	if *matrixQEMU == "" {
		t.Skip("make test-matrix runs matrix.cfg")
	}
	dir := *matrixResults
	if dir == "" {
		dir = runMatrix(t, mhmig(t), *matrixQEMU)
	}
	run, ended, err := result.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	cells, rows, columns := matrixCells(t)
	if len(ended) != len(cells) {
		t.Errorf("%d variants ran, want %d", len(ended), len(cells))
	}
	for _, o := range ended {
		if o.Status != result.Pass && o.Status != result.Skip {
			t.Errorf("%s: %s: %s", o.ShortName, o.Status, o.Message)
		}
	}
	version, err := matrixVersion(ended, *matrixQEMU)
	if err != nil {
		t.Error(err)
	}
	var table strings.Builder
	if err := report.Table(report.MatrixRows, report.MatrixColumns)(&table, dir); err != nil {
		t.Fatal(err)
	}
	var refused string
	synctest.Test(t, func(t *testing.T) { refused = refusals(t) })
	took := (time.Duration(run.Seconds) * time.Second).Round(time.Second)
	page := fmt.Sprintf(`# Features over transports: QEMU %s

%s
The figures are from a machine of %d cores that had both hosts of each move, emulated guests (TCG), and %d variants in
%v. They are no measure of QEMU on real hosts.

`, version, matrixIntro, runtime.NumCPU(), len(ended), took) + table.String() + refusalsHeading + refused
	if problems := pageProblems(page, cells, rows, columns); problems != "" {
		t.Error(problems)
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(matrixPage(*matrixQEMU), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// runMatrix runs matrix.cfg, and returns the results folder.
func runMatrix(t *testing.T, binary, version string) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), binary, "bootstrap", "--quiet", "--qemu", version).CombinedOutput(); err != nil {
		t.Fatalf("bootstrap --qemu %s: %v\n%s", version, err, out)
	}
	results := filepath.Join(t.TempDir(), "results")
	out, err := exec.CommandContext(t.Context(), binary, "exec", "@std//"+matrixConfig, "--defaults", "--results", results, "--lab", "embedded", "--lab-hosts", "4",
		"--timeout", "5m", "--param", "accel=tcg", "--param", "qemu_version="+version).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	dir, err := result.RunFolder(results)
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return dir
}
