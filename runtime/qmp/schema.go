// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// Capability is the path of a migration capability, such as multifd, for
// [Conn.Supports].
func Capability(name string) string {
	return "migrate-set-capabilities/capabilities/capability/" + name
}

// Parameter is the path of a migration parameter, such as max-bandwidth, for
// [Conn.Supports].
func Parameter(name string) string { return "migrate-set-parameters/" + name }

// Supports reports whether this QEMU supports what path names: a command or an event,
// then a slash and one of its arguments, and so on down to a member of the
// argument or one of its values:
//
//	migrate-recover
//	migrate-incoming/exit-on-error
//	migrate-set-capabilities/capabilities/capability/multifd
//
// It queries QEMU's schema once. Distributions backport features, so a check of the
// version is not enough.
func (c *Conn) Supports(ctx context.Context, path string) (bool, error) {
	s, err := c.schema.get(ctx, c)
	if err != nil {
		return false, err
	}
	return s.has(path), nil
}

// Members returns the names of what can follow path, in QEMU's order: a command's
// arguments, or the members of an argument that is an object. None if this QEMU does not
// support path, or nothing can follow it but values, for which see [Conn.Values].
func (c *Conn) Members(ctx context.Context, path string) ([]string, error) {
	s, err := c.schema.get(ctx, c)
	if err != nil {
		return nil, err
	}
	e := s[s.typeAt(path)]
	if e.MetaType != "object" {
		return nil, nil
	}
	var names []string
	for _, m := range e.Members {
		names = append(names, m.Name)
	}
	return names, nil
}

// Values returns the values of the enumeration that path names, in QEMU's order; none if
// it names no enumeration.
func (c *Conn) Values(ctx context.Context, path string) ([]string, error) {
	s, err := c.schema.get(ctx, c)
	if err != nil {
		return nil, err
	}
	return s[s.typeAt(path)].values(), nil
}

// schemaCache caches the schema after the first successful query.
type schemaCache struct {
	mu  sync.Mutex // guards all
	all schema
}

func (sc *schemaCache) get(ctx context.Context, c *Conn) (schema, error) {
	sc.mu.Lock()
	all := sc.all
	sc.mu.Unlock()
	if all != nil {
		return all, nil
	}
	var entries []schemaEntry
	if err := c.Execute(ctx, "query-qmp-schema", nil, &entries); err != nil {
		return nil, err
	}
	all = make(schema, len(entries))
	for _, e := range entries {
		all[e.Name] = e
	}
	sc.mu.Lock()
	sc.all = all
	sc.mu.Unlock()
	return all, nil
}

// schema is QEMU's description of its own commands, events and types, by name.
type schema map[string]schemaEntry

type schemaEntry struct {
	Name        string         `json:"name"`
	MetaType    string         `json:"meta-type"`
	ArgType     string         `json:"arg-type"`     // of a command or event
	ElementType string         `json:"element-type"` // of an array
	Members     []schemaMember `json:"members"`      // of an object or alternate; of an enum since 6.2
	Variants    []schemaMember `json:"variants"`     // of an object
	Values      []string       `json:"values"`       // of an enum
}

type schemaMember struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func (s schema) has(path string) bool {
	first, rest, deeper := strings.Cut(path, "/")
	e, ok := s[first]
	if !ok || e.MetaType != "command" && e.MetaType != "event" {
		return false
	}
	return !deeper || s.typeHas(e.ArgType, strings.Split(rest, "/"))
}

// typeAt is the name of the type of what path names, "" if there is no such thing.
// Elements of arrays stand for their arrays.
func (s schema) typeAt(path string) string {
	words := strings.Split(path, "/")
	name := s[words[0]].ArgType
	for _, word := range words[1:] {
		name = s.memberType(s.element(name), word)
	}
	return s.element(name)
}

func (s schema) element(name string) string {
	if e := s[name]; e.MetaType == "array" {
		return e.ElementType
	}
	return name
}

func (s schema) memberType(name, member string) string {
	for _, m := range s[name].Members {
		if m.Name == member {
			return m.Type
		}
	}
	return ""
}

// values are those of an enumeration.
func (e schemaEntry) values() []string {
	if e.MetaType != "enum" || e.Values != nil {
		return e.Values
	}
	var names []string
	for _, m := range e.Members {
		names = append(names, m.Name)
	}
	return names
}

func (s schema) typeHas(name string, path []string) bool {
	e, ok := s[name]
	switch {
	case !ok:
		return false
	case len(path) == 0:
		return true
	}
	switch e.MetaType {
	case "array":
		return s.typeHas(e.ElementType, path)
	case "enum":
		return len(path) == 1 && slices.Contains(e.values(), path[0])
	case "object":
		for _, m := range e.Members {
			if m.Name == path[0] {
				return s.typeHas(m.Type, path[1:])
			}
		}
		for _, v := range e.Variants {
			if s.typeHas(v.Type, path) {
				return true
			}
		}
	case "alternate":
		for _, m := range e.Members {
			if s.typeHas(m.Type, path) {
				return true
			}
		}
	}
	return false
}
