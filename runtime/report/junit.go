// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// The elements of the JUnit format, by its common schema (of Jenkins' xUnit plugin, in
// testdata).
type (
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		XMLName   xml.Name     `xml:"testcase"`
		ClassName string       `xml:"classname,attr"`
		Name      string       `xml:"name,attr"`
		Time      string       `xml:"time,attr"`
		Skipped   *junitReason `xml:"skipped"`
		Errors    []junitText  `xml:"error"`
		Failures  []junitText  `xml:"failure"`
		Out       string       `xml:"system-out,omitempty"`
	}
	junitReason struct {
		Message string `xml:"message,attr,omitempty"`
	}
	junitText struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a JUnit XML report: one suite, with a test case for each variant. FAIL
// is a failure, ERROR and an unfinished variant are an error, SKIP and CANCEL are
// skipped, and WARN is passed, with its warnings in the output.
//
// The folder is read twice, since the counts come first; during a run they can be
// slightly older.
func JUnit(w io.Writer, dir string) error {
	run, err := result.LoadRun(dir)
	if err != nil {
		return err
	}
	var tests, failed, erred, skipped int
	for o, err := range outcomesAndRun(run, dir) {
		if err != nil {
			return err
		}
		tests++
		switch o.Status {
		case result.Fail:
			failed++
		case result.Error, result.Running:
			erred++
		case result.Skip, result.Cancel:
			skipped++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	w = printable.EscapeCommands(w, func(c byte) string { return fmt.Sprintf("&#%d;", c) })
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	counts := attributes("name", "mhmig", "tests", tests, "failures", failed, "errors", erred, "time", decimal(run.Seconds))
	suites := xml.StartElement{Name: xml.Name{Local: "testsuites"}, Attr: counts}
	suite := xml.StartElement{Name: xml.Name{Local: "testsuite"}, Attr: attributes(
		"name", title(run), "tests", tests, "failures", failed, "errors", erred, "skipped", skipped, "time", decimal(run.Seconds),
		"timestamp", run.Started.UTC().Format("2006-01-02T15:04:05"), "hostname", hostname(run), "id", run.ID)}
	properties := struct {
		Property []junitProperty `xml:"property"`
	}{junitProperties(run)}
	err = errors.Join(e.EncodeToken(suites), e.EncodeToken(suite),
		e.EncodeElement(properties, xml.StartElement{Name: xml.Name{Local: "properties"}}))
	if err != nil {
		return err
	}
	for o, err := range outcomesAndRun(run, dir) {
		if err != nil {
			return err
		}
		if err := e.Encode(newJUnitCase(run, o)); err != nil {
			return err
		}
	}
	if err := errors.Join(e.EncodeToken(suite.End()), e.EncodeToken(suites.End()), e.Close()); err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n")
	return err
}

func newJUnitCase(run result.Run, o result.Outcome) junitCase {
	name := o.Name
	if o.Repeat > 0 {
		name += fmt.Sprintf(" (repeat %d)", o.Repeat)
	}
	c := junitCase{ClassName: "mhmig." + title(run), Name: printable.Line(name), Time: decimal(o.Seconds), Out: printable.Lines(junitOutput(o))}
	for i, f := range failures(o) {
		text := junitText{Type: f.Status.String(), Message: printable.Lines(f.Message), Text: printable.Lines(describe(f))}
		switch {
		case i == 0 && (o.Status == result.Skip || o.Status == result.Cancel):
			c.Skipped = &junitReason{text.Message}
		case o.Status.OK(): // a warning, in the output
		case f.Status == result.Fail:
			c.Failures = append(c.Failures, text)
		default:
			c.Errors = append(c.Errors, text)
		}
	}
	if c.Skipped == nil && (o.Status == result.Skip || o.Status == result.Cancel) {
		c.Skipped = &junitReason{}
	}
	return c
}

// junitOutput is the system-out of a variant.
func junitOutput(o result.Outcome) string {
	var b strings.Builder
	if o.Status == result.Warn {
		for _, f := range failures(o) {
			fmt.Fprintf(&b, "%s %s\n%s", f.Status, f.Message, describe(f))
		}
	}
	for _, warning := range o.Warnings {
		fmt.Fprintf(&b, "WARN %s\n", warning)
	}
	if q := o.Quarantine; q != nil {
		fmt.Fprintf(&b, "in quarantine until %s: %s would be %s: %s %s\n", q.Expires.Format("2006-01-02"), o.Status, q.Status, q.Reason, q.Tracker)
	}
	if len(o.Hosts) > 0 {
		fmt.Fprintf(&b, "hosts: %s\n", strings.Join(o.Hosts, " "))
	}
	if o.ID != "" {
		fmt.Fprintf(&b, "log: %s\n", path.Join(o.ID, result.LogFile))
	}
	return b.String()
}

func junitProperties(run result.Run) []junitProperty {
	var all []junitProperty
	add := func(name, value string) {
		if value != "" {
			all = append(all, junitProperty{name, printable.Line(value)})
		}
	}
	add("run", run.ID)
	add("status", run.Status.String())
	add("mhmig", run.Version)
	add("libraries", strings.Join(run.Libraries, ", "))
	add("command", strings.Join(run.Command, " "))
	add("scenario", run.Scenario)
	add("config", run.Config)
	add("hosts", strings.Join(run.Hosts, ","))
	add("shard", run.Shard)
	if run.Seed != 0 {
		add("seed", strconv.FormatUint(run.Seed, 10))
	}
	return all
}

// hostname is the run's first host, else the name of this machine: the schema requires one.
func hostname(run result.Run) string {
	here, _ := os.Hostname() // the default is used
	return cmp.Or(strings.Join(run.Hosts[:min(1, len(run.Hosts))], ""), here, "localhost")
}

// attributes makes attributes of alternating names and values.
func attributes(namesAndValues ...any) []xml.Attr {
	var all []xml.Attr
	for i := 0; i < len(namesAndValues); i += 2 {
		all = append(all, xml.Attr{Name: xml.Name{Local: fmt.Sprint(namesAndValues[i])}, Value: fmt.Sprint(namesAndValues[i+1])})
	}
	return all
}

func decimal(seconds float64) string { return strconv.FormatFloat(seconds, 'f', 3, 64) }
