// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
)

// TestPage clicks through the page in a browser, as a person would. Its
// pictures are in the artifacts: go test -artifacts.
func TestPage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	dir := makeRun(t, true)
	report.NewUpdater(dir, func(err error) { t.Error(err) }).Close()
	b := openBrowser(t, "file://"+filepath.Join(dir, report.HTMLFile))

	b.do(chromedp.EmulateViewport(1280, 800))
	b.want("6 rows", `document.querySelectorAll("#variants tbody tr").length`, 6)
	b.want("an idle migration and one under load", `document.querySelectorAll("#variants .spark").length`, 4)
	b.want("a dirty rate of that under load alone", `[0, 1].map(i => document.querySelectorAll("#variants tbody tr")[i].querySelectorAll(".spark polyline").length).join()`, "1,2")
	b.want("time that goes on", `rows[1].moves[0].t.every((t, i, all) => !i || t > all[i - 1])`, true)
	b.want("what the guest of one felt", `[0, 1].map(i => document.querySelectorAll("#variants tbody tr")[i].querySelector("td.down").textContent).join()`, "40 ms,40 ms (guest 52)")
	b.picture("list")

	b.do(chromedp.SendKeys(chromedp.CSS("#filter"), "host2 broken"))
	b.want("one row", shownRows, "broken")
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#filter").value = ""`), chromedp.SendKeys(chromedp.CSS("#filter"), " "), chromedp.Click(chromedp.CSS(".chip.WARN")))
	b.want("one row of that status", shownRows, "quarantined")
	b.do(chromedp.Click(chromedp.CSS(".chip.WARN")), chromedp.Click(chromedp.CSS(`th[data-sort=seconds] button`)))
	b.want("sorted", `document.querySelector("th[aria-sort]").dataset.sort`, "seconds")
	b.do(chromedp.Click(chromedp.CSS(`th[data-sort=label] button`)))
	b.want("by name", shownRows, "broken,idle,killed,load,nordma,quarantined")

	b.do(chromedp.Click(`//tr//a[text()="load"]`))
	b.want("the variant", `document.querySelector("#detail h1").textContent`, "load")
	b.want("three plots", `document.querySelectorAll("#migrations svg.plot").length`, 3)
	b.want("three curves", `document.querySelectorAll("#migrations .curve").length`, 3)
	b.want("passes", `document.querySelectorAll("#migrations .pass").length > 4`, true)
	b.want("the downtime", `document.querySelector("#migrations .figures .down").textContent`, "downtime 40 ms")
	b.want("the guest's downtime", `document.querySelector("#migrations .figures .stop").textContent`, "guest downtime 52 ms")
	b.want("the memory proof", `/memory proof 1\.2\d* s.*pages compared 32768.*pages that differ 3/.test(document.querySelector("#migrations .figures").textContent)`, true)
	b.want("its brownout", `/^guest brownout [\d.]+ m?s$/.test(document.querySelector("#migrations .figures .gap").textContent)`, true)
	b.want("the blackout", `document.querySelectorAll("#migrations .blackout").length`, 3)
	b.want("the guest's pauses while it moved, one a second", `(n => n > 4 && n < 20)(document.querySelectorAll("#migrations rect.pause.gap").length)`, true)
	b.want("one axis of time", `new Set([...document.querySelectorAll("#migrations svg.plot")].map(e => e.querySelector("rect.blackout").getAttribute("x"))).size`, 1)
	b.want("lanes with steps", `document.querySelectorAll("#timeline .step").length >= 3`, true)
	b.want("who waited", `document.querySelector("#timeline .waits").textContent`, "1.20 sdestination waited for source at ports (migration 1)")
	b.want("a param's origin", `[...document.querySelectorAll("#params tbody tr")].find(r => r.cells[0].textContent === "mem").cells[2].textContent`, "base.cfg:12")
	b.want("its place below the log", `[...document.querySelectorAll("#detail > section")].map(e => e.id).filter(Boolean).join()`, "migrations,timeline,log,files,params")
	b.do(chromedp.SendKeys(chromedp.CSS("#params-filter"), "tests.cfg:3"))
	b.want("one param", `[...document.querySelectorAll("#params tbody tr")].map(r => r.cells[1].textContent).join()`, "load")
	b.want("the log", `document.querySelector("#log pre").textContent.includes("scenario begins")`, true)
	b.want("artifacts", `document.querySelector("#files a").getAttribute("href")`, "./002-load/artifacts/dmesg%20of%20guest.txt")
	b.do(chromedp.Click(chromedp.CSS("#scale")))
	b.want("plots on their own scale", `document.querySelectorAll("#migrations svg.plot").length`, 3)
	b.do(chromedp.Click(chromedp.CSS("#scale")))
	b.do(chromedp.Click(chromedp.CSS("#timeline .zoom button:last-child")))
	b.want("zoomed in", `(e => e.scrollWidth > e.clientWidth)(document.querySelector("#timeline .scroll"))`, true)
	b.do(chromedp.Click(chromedp.CSS("#timeline .zoom button:first-child")), chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
	b.picture("load")

	b.do(chromedp.KeyEvent("k")) // in the order of the table
	b.want("the one before", `document.querySelector("#detail h1").textContent.startsWith("killed.<i>")`, true)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.want("the table again", `!document.querySelector("#list").hidden && document.querySelector("#detail").hidden`, true)

	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#003-broken"`))
	b.want("both failures", `[...document.querySelectorAll(".failure .status")].map(e => e.textContent).join()`, "FAIL,ERROR")
	b.want("the scenario's line", `document.querySelector(".source").textContent`, "30check_memory_work(session)")
	b.want("evidence", `document.querySelector(".failure").textContent.includes("guest console")`, true)
	b.picture("broken")
	b.want("no element of a guest's making", `document.querySelectorAll("main script, main img, main i:not(.swatch i)").length`, 0)

	for _, id := range []string{"", "002-load"} {
		b.do(chromedp.EmulateViewport(420, 800), chromedp.Evaluate[chromedp.Void](`location.hash = "`+id+`"`))
		b.want("no sideways scrolling", `document.documentElement.scrollWidth <= innerWidth`, true)
		b.picture("narrow-" + id)
	}
}

// TestMovedPage: a page that lies alone in a folder has no link that leads nowhere, and
// shows what it knows. One of a single variant shows that.
func TestMovedPage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	f, err := result.Create(t.TempDir(), result.Run{Scenario: "fast.star", Planned: 1}, func(err error) { t.Error(err) })
	check(t, err)
	v, err := f.Start(result.Entry{Name: "fast.JeOS", Hosts: []string{"host1", "host2"}, Params: map[string]string{"mem": "128"}})
	check(t, err)
	log := slog.New(f.Handler()).With("variant", v.ID())
	log.Debug("remote command", "command", "uname")
	log.Info("guest started")
	log.Warn("it is slow")
	log.Error("it is gone")
	for _, write := range []struct {
		to   func() (io.WriteCloser, error)
		text string
	}{
		{func() (io.WriteCloser, error) { return v.VMFile("vm1", "host1", "console.log") }, "login: \x1b[1mroot\n"},
		{func() (io.WriteCloser, error) { return v.Artifact("dump.bin") }, "\x00\xff"},
	} {
		w, err := write.to()
		check(t, err)
		_, err = io.WriteString(w, write.text)
		check(t, err)
		check(t, w.Close())
	}
	check(t, v.Migration(fastMove(time.Now())))
	check(t, v.Finish(result.Outcome{
		Failure: result.Failure{Status: result.Fail, Message: "lost"},
		Unread:  []result.UnreadParam{{Key: "men", Origin: "my.cfg:3", Nearest: "mem"}, {Key: "other"}},
	}))
	check(t, f.Finish(result.Fail))
	report.NewUpdater(f.Dir(), func(err error) { t.Error(err) }).Close()
	page, err := os.ReadFile(filepath.Join(f.Dir(), report.HTMLFile))
	check(t, err)
	alone := filepath.Join(t.TempDir(), "mailed.html")
	check(t, os.WriteFile(alone, page, 0o644))

	const links = `[...document.querySelectorAll("a[href]")].map(a => a.getAttribute("href")).filter(href => !href.startsWith("#")).join()`
	b := openBrowser(t, "file://"+alone)
	b.do(chromedp.EmulateViewport(1280, 800))
	b.want("the only variant", `document.querySelector("#detail h1").textContent`, "fast.JeOS")
	b.want("params that were never read", `[...document.querySelectorAll("#unread tr")].map(r => [...r.cells].map(c => c.textContent).join()).join(";")`,
		"men,did you mean mem?,my.cfg:3;other,,")
	b.want("the run's summary", `document.querySelector("#summary").hidden`, false)
	b.want("no link to another file", links, "")
	b.want("names instead", `[...document.querySelectorAll("code.path")].map(e => e.textContent).join()`, "001-fast.JeOS/log.txt,artifacts/dump.bin,vm/vm1@host1/console.log,results.json,junit.xml")
	b.want("what a file says", `[...document.querySelectorAll("#files pre")].map(e => e.textContent).join()`, "login: \\x1b[1mroot\n")
	b.want("the whole log", `document.querySelectorAll("#log .line").length`, 4)
	b.do(chromedp.Evaluate[chromedp.Void](`(e => { e.value = "WARN"; e.dispatchEvent(new Event("change")); })(document.querySelector("#log-level"))`))
	b.want("what is worse than INFO", `[...document.querySelectorAll("#log .line")].map(e => e.textContent.trim().slice(13)).join()`, "WARN  it is slow,ERROR it is gone")
	b.want("dirty rates of each pass", `data(details[0]).plots[0].dirty.map(v => Math.round(v / 1e6)).join()`, "20,20,20,20,4")
	b.want("rates between samples", `data(details[0]).plots[0].rate.map(v => Math.round(v / 1e6)).join()`, "300,200,180,150,60")
	b.picture("fast")

	home := openBrowser(t, "file://"+filepath.Join(f.Dir(), report.HTMLFile))
	home.want("links at home", links, "./001-fast.JeOS/log.txt,./001-fast.JeOS/artifacts/dump.bin,./001-fast.JeOS/vm/vm1%40host1/console.log,./results.json,./junit.xml")
}

// fastMove is a move of half a second, in which QEMU knows no dirty rate: the guest
// changes 20 MB/s of its memory in the first 400 ms, and 4 in the last 100.
func fastMove(begun time.Time) result.Migration {
	const total = 96_000_000
	type look struct {
		at, left, sent, bytes float64
		pass                  int
		status                string
	}
	query := func(l look) map[string]any {
		const page = 4096
		return map[string]any{"status": l.status, "total-time": l.at, "setup-time": 0.0, "downtime": 20.0, "ram": map[string]any{
			"total": float64(total), "remaining": l.left, "normal": l.sent / page, "duplicate": 0.0, "transferred": l.bytes, "page-size": float64(page),
			"dirty-sync-count": float64(l.pass), "dirty-pages-rate": 0.0, "mbps": 0.0,
		}}
	}
	looks := []look{
		{100, 66e6, 30e6, 30e6, 1, "active"},
		{200, 46e6, 50e6, 50e6, 1, "active"},
		{300, 28e6, 68e6, 68e6, 1, "active"},
		{400, 21e6, 83e6, 83e6, 2, "active"},
		{500, 0, 104.4e6, 89e6, 4, "completed"},
	}
	moved := result.MovedVM{VM: "vm1", Status: "completed", Query: query(looks[4])}
	for _, l := range looks[:4] {
		moved.Samples = append(moved.Samples, result.Sample{Time: begun.Add(time.Duration(l.at) * time.Millisecond), Query: query(l)})
	}
	return result.Migration{Number: 1, Source: "host1", Destination: "host2", Status: "completed", VMs: []result.MovedVM{moved}}
}

const shownRows = `[...document.querySelectorAll("#variants tbody tr a")].map(a => a.textContent.split(".")[0]).join()`

// TestLargePage: a run of 1,000 variants opens fast.
func TestLargePage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes 1,000 variants")
	}
	dir := makeLargeRun(t, 1000)
	report.NewUpdater(dir, func(err error) { t.Error(err) }).Close()
	b := openBrowser(t, "file://"+filepath.Join(dir, report.HTMLFile))
	b.want("1,000 variants", `rows.length`, 1000)
	b.want("some of them drawn", `document.querySelectorAll("#variants tbody tr").length < 500`, true)
	took, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64](`performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart`))
	check(t, err)
	if t.Logf("opened in %v ms", took); took > 10_000 {
		t.Errorf("took %v ms to open", took)
	}
	b.do(chromedp.SendKeys(chromedp.CSS("#filter"), "v999"))
	b.want("one row", `document.querySelectorAll("#variants tbody tr").length`, 1)
}

// browser is one window of a browser without a screen.
type browser struct {
	*testing.T
	ctx context.Context
}

func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("THE HTML REPORT IS NOT TRIED: there is no chromium here; .ci/install-test-packages installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, fmt.Errorf("the browser did not do it in 2m"))
	ctx, endProgram := chromedp.NewExecAllocator(ctx, options...)
	ctx, closeWindow := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the program
		closeWindow()
		endProgram()
		cancel()
	})
	b := &browser{t, ctx}
	var mu sync.Mutex
	var faults []string
	err := chromedp.Listen(ctx, func(event any) {
		var fault string
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if e.Request.URL != url && !strings.HasPrefix(e.Request.URL, "data:") {
				fault = "request: " + e.Request.URL
			}
		case *runtime.EventExceptionThrown:
			fault = fmt.Sprintf("exception: %+v", *e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			fault = fmt.Sprintf("console: %s %s", e.Type, e.Args[0].Value)
		case *log.EventEntryAdded:
			fault = fmt.Sprintf("log: %s %s", e.Entry.Level, e.Entry.Text)
		case *page.EventJavascriptDialogOpening:
			fault = "dialog: " + e.Message
		}
		if fault != "" {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, fault)
		}
	})
	check(t, err)
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	check(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	check(t, err)
	b.do(chromedp.Navigate(url))
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, fault := range faults {
			t.Error(fault)
		}
	})
	return b
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatalf("%v: %v", err, context.Cause(b.ctx))
	}
}

// want waits until an expression has a value. Until then it may be wrong in what is not
// there yet: a click returns before the page has shown what it leads to.
func (b *browser) want(what, expression string, value any) {
	b.Helper()
	want := fmt.Sprint(value)
	for deadline := time.Now().Add(time.Minute); ; {
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](expression))
		if err == nil && fmt.Sprint(got) == want {
			return
		}
		if time.Now().After(deadline) || b.ctx.Err() != nil {
			b.Errorf("%s: %s: got %v, %v, want %v", what, expression, got, err, want)
			return
		}
		b.do(chromedp.Sleep(20 * time.Millisecond))
	}
}

// picture keeps what the page looks like, in light and in dark.
func (b *browser) picture(name string) {
	b.Helper()
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		check(b, err)
		b.do(chromedp.Sleep(100 * time.Millisecond))
		png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		check(b, err)
		check(b, os.WriteFile(filepath.Join(b.ArtifactDir(), name+"-"+scheme+".png"), png, 0o644))
	}
}
