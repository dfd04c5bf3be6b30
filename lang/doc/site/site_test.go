// SPDX-License-Identifier: Apache-2.0

package site_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/doc/site"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

// written writes a site and returns its files.
func written(t *testing.T, libraries library.Set) map[string]string {
	t.Helper()
	index, err := doc.New(libraries)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "new", "site")
	if err := site.Write(folder, index); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

var shipped = library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}

// contents are the ids and the links of a page, which is well-formed.
func contents(t *testing.T, name, text string) (ids map[string]bool, links []string) {
	t.Helper()
	ids = map[string]bool{}
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return ids, links
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			switch a.Name.Local {
			case "id":
				if ids[a.Value] {
					t.Errorf("%s: two elements have the id %s", name, a.Value)
				}
				ids[a.Value] = true
			case "href", "src":
				links = append(links, a.Value)
			}
		}
	}
}

// Each topic has a place in a page and is found by the search, and all links lead somewhere: none out of the folder.
func TestWrite(t *testing.T) {
	t.Parallel()
	files := written(t, shipped)
	ids := map[string]map[string]bool{}
	links := map[string][]string{}
	for name, text := range files {
		if filepath.Ext(name) == ".html" {
			ids[name], links[name] = contents(t, name, text)
		}
	}
	leads := func(from, to string) bool {
		page, anchor, _ := strings.Cut(to, "#")
		if page == "" {
			page = from
		}
		return files[page] != "" && (anchor == "" || ids[page][anchor])
	}
	for name, list := range links {
		for _, link := range list {
			if !leads(name, link) {
				t.Errorf("%s: the link %s leads nowhere", name, link)
			}
		}
	}
	var entries []struct{ N, K, S, P string }
	line, _, _ := strings.Cut(strings.TrimPrefix(files["search.js"], "\"use strict\";\nconst topics = "), ";\n")
	if err := json.Unmarshal([]byte(line), &entries); err != nil {
		t.Fatal(err)
	}
	places := map[string]string{}
	for _, e := range entries {
		if places[e.K+" "+e.N] = e.P; e.S == "" || !leads("", e.P) {
			t.Errorf("the search has %+v", e)
		}
	}
	index, err := doc.New(shipped)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range doc.Kinds {
		for _, topic := range index.Topics(kind) {
			if places[string(kind)+" "+topic.Name] == "" {
				t.Errorf("the search has no %s %s", kind, topic.Name)
			}
		}
	}
	for page, want := range map[string]string{
		"functions.html": `<p>Returns <code><a href="value-mig.html">mig</a></code>:`, // a type
		"value-env.html": `<dt><a href="value-env.html#env.hosts"><code>hosts</code></a> <code class="type">list[<a href="value-host.html">host</a>]</code></dt>`,
		"libraries.html": `<section id="std-work.star.start_memory_work">`,
		"params.html":    "<pre class=\"example\"><code>mem = ",
	} {
		if !strings.Contains(files[page], want) {
			t.Errorf("%s has no %s", page, want)
		}
	}
	if diff := cmp.Diff(files, written(t, shipped)); diff != "" {
		t.Errorf("written again (-first +second):\n%s", diff)
	}
}

// Text of a library is no HTML and no script.
func TestHostileLibrary(t *testing.T) {
	t.Parallel()
	const source = "\"\"\"</script><b>x</b> @team//a.star\"\"\"\ndef f(a = '<i>'):\n  \"\"\"Does <b>.</b>\n\n      code <b>\n  More.\n  \"\"\"\n"
	files := written(t, library.Set{"team": fstest.MapFS{"a.star": {Data: []byte(source)}, "b/a.star": {Data: []byte(source)}}})
	for name, text := range files {
		for _, tag := range []string{"<b>", "<i>", "</script><"} {
			if strings.Contains(strings.ReplaceAll(text, "</script>\n</head>", ""), tag) {
				t.Errorf("%s has %s", name, tag)
			}
		}
		if filepath.Ext(name) == ".html" {
			contents(t, name, text)
		}
	}
	if !strings.Contains(files["libraries.html"], `<a href="libraries.html#team-a.star">@team//a.star</a>`) ||
		!strings.Contains(files["libraries.html"], "<pre>    code &lt;b&gt;</pre>") {
		t.Errorf("libraries.html: %s", files["libraries.html"])
	}
}
