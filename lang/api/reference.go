// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WriteParams writes the reference of all params as Markdown. lang/api/PARAMS.md is
// its output.
func WriteParams(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Params

This page is generated from the registry in this folder.

A param applies to all VMs and hosts, or to one object by a suffix with the object's name: the suffixes are appended
from the inside to the outside, image or NIC, then VM, then host (` + "`mem_vm1_host2`" + `). The hosts are host1, host2, … in the
order in which they were given. "For each" is the innermost object that a param can be set for: other suffixes
have no effect, which is a WARN if they are of VMs or hosts (` + "`kill_vm_vm1`, `mem_host2_vm1`" + `), and an ERROR for params that
decide what a migration tests (` + "`mig_speed_vm1`" + `).

Times are seconds (240, 1.5) or have units (1m30s). Sizes have the units K, M, G, T.

| param | for each | value | default | what it is |
|---|---|---|---|---|
`)
	for _, p := range params {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p.Name, p.Object, p.value(), code(p.Default), cell(p.Doc))
	}
	b.WriteString(`
## Params of virt-test that are not supported yet

A variant that sets one of these runs without it, and ends as WARN at best; with ` + "`--strict`" + ` it is an ERROR.

| param | if it were supported |
|---|---|
`)
	for _, u := range unsupported {
		fmt.Fprintf(&b, "| `%s` | %s |\n", u.Name, u.Effect)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the reference of all functions, modules and values, as the sections
// of a page.
func (l Language) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("## Functions\n")
	for _, f := range l.Functions {
		writeBuiltin(&b, "", f)
	}
	for _, m := range l.Modules {
		fmt.Fprintf(&b, "\n## Module `%s`\n\n%s\n", m.Name, m.Doc)
		for _, f := range m.Functions {
			writeBuiltin(&b, m.Name+".", f)
		}
	}
	for _, c := range l.Classes {
		fmt.Fprintf(&b, "\n## Value `%s`\n\n%s\n", c.Name, c.Doc)
		if len(c.Attributes) > 0 {
			b.WriteString("\n| attribute | type | |\n|---|---|---|\n")
			for _, a := range c.Attributes {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.Name, code(a.Type), cell(a.Doc))
			}
		}
		for _, m := range c.Methods {
			writeBuiltin(&b, c.Name+".", m)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeBuiltin(b *strings.Builder, owner string, f Builtin) {
	fmt.Fprintf(b, "\n### %s%s\n\n    %s\n\n%s\n", owner, f.Name, f.Signature(), f.Doc)
	if len(f.Params) > 0 {
		b.WriteString("\n| parameter | wants | default | |\n|---|---|---|---|\n")
	}
	for _, p := range f.Params {
		byDefault := code(p.Default)
		if p.Computed {
			byDefault = "*" + cell(p.Default) + "*"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.Name, cell(p.Wants), byDefault, cell(p.Doc))
	}
	switch f.Returns.Type {
	case "None", "never":
	default:
		fmt.Fprintf(b, "\nReturns `%s`: %s.\n", f.Returns.Type, f.Returns.Doc)
	}
}

// value describes the values of the param.
func (p Param) value() string {
	switch p.Kind {
	case Choice:
		text := strings.Join(p.Choices, ", ")
		if len(p.Spellings) > 0 {
			text += " (also " + strings.Join(slices.Sorted(maps.Keys(p.Spellings)), ", ") + ")"
		}
		return text
	case Size:
		text := "size in " + p.Unit
		if limits := p.Limits(); limits != "" {
			text += ", " + limits
		}
		return text
	case Number:
		if p.Unit != "" {
			return "number of " + p.Unit
		}
	}
	return cmp.Or(p.Limits(), string(p.Kind))
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}

// cell escapes text for a table cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
