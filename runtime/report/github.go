// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// Annotations writes workflow commands that annotate the lines of a change in GitHub
// Actions (and Gitea, and others): an error for each failed variant, a warning for
// each warning.
func Annotations(w io.Writer, dir string) error {
	run, err := result.LoadRun(dir)
	if err != nil {
		return err
	}
	for o, err := range outcomesAndRun(run, dir) {
		if err != nil {
			return err
		}
		var lines []string
		for _, f := range failures(o) {
			switch {
			case !o.Status.OK():
				lines = append(lines, annotation("error", label(o), f))
			case o.Status == result.Warn:
				lines = append(lines, annotation("warning", label(o), f))
			}
		}
		for _, warning := range o.Warnings {
			lines = append(lines, annotation("warning", label(o), result.Failure{Status: result.Warn, Message: warning}))
		}
		if _, err := io.WriteString(w, strings.Join(lines, "")); err != nil {
			return err
		}
	}
	return nil
}

func annotation(command, variant string, f result.Failure) string {
	var properties []string
	add := func(key, value string) {
		value = strings.NewReplacer(":", "%3A", ",", "%2C").Replace(commandText(value))
		properties = append(properties, key+"="+value)
	}
	if file, line, column := split(f.Position); line > 0 && !strings.HasPrefix(file, "@") { // files of libraries are not in the repository
		add("file", relative(file))
		add("line", fmt.Sprint(line))
		if column > 0 {
			add("col", fmt.Sprint(column))
		}
	}
	add("title", f.Status.String()+" "+variant)
	text := f.Message
	if where := place(f); where != "" {
		text += "\non " + where
	}
	return fmt.Sprintf("::%s %s::%s\n", command, strings.Join(properties, ","), commandText(text))
}

// commandText is text escaped for a workflow command, without control characters.
func commandText(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(printable.Lines(text))
}

// relative is a file's path relative to the working folder, if it is below that:
// GitHub wants paths relative to the checkout.
func relative(file string) string {
	here, err := os.Getwd()
	if err != nil || !filepath.IsAbs(file) {
		return filepath.ToSlash(filepath.Clean(file))
	}
	if below, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(below) {
		file = below
	}
	return filepath.ToSlash(file)
}

// AppendSummary adds the Markdown report to the job summary of GitHub Actions at path; ""
// is none.
func AppendSummary(path, dir string) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("GITHUB_STEP_SUMMARY: %w", err)
	}
	return errors.Join(Markdown(file, dir), file.Close())
}
