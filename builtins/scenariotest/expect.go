// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"fmt"
	"regexp"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
)

// maxShown is how much of a value an error has.
const maxShown = 600

func shown(v starlark.Value) string {
	text := v.String()
	if len(text) > maxShown {
		text = text[:maxShown] + "…"
	}
	return text
}

// unmet is the error of an expectation that is not met, with what the last run says.
func (c *call) unmet(format string, args ...any) error {
	text := c.name + ": " + fmt.Sprintf(format, args...)
	if c.test.last != "" {
		text += "\n" + c.test.last
	}
	return fmt.Errorf("%s", text)
}

// expectRows are the functions of expect.
func expectRows() []*row {
	got := required("got", "any", "anything", "what it is")
	compared := func(name, doc string, want api.Parameter, met func(c *call, got, want starlark.Value) error) *row {
		return &row{api.Builtin{Name: name, Doc: doc, Params: []api.Parameter{got, want}, Returns: none}, func(c *call) (starlark.Value, error) {
			var x, y starlark.Value
			if err := c.unpack("got", &x, want.Name, &y); err != nil {
				return nil, err
			}
			return nil, met(c, x, y)
		}}
	}
	return []*row{
		compared("eq", "Fails the test unless two values are equal.", required("want", "any", "anything", "what it is to be"), func(c *call, got, want starlark.Value) error {
			equal, err := starlark.Equal(got, want)
			switch {
			case err != nil:
				return err
			case !equal:
				return c.unmet("got %s, want %s", shown(got), shown(want))
			}
			return nil
		}),
		compared("ne", "Fails the test if two values are equal.", required("other", "any", "anything", "what it is not to be"), func(c *call, got, other starlark.Value) error {
			equal, err := starlark.Equal(got, other)
			switch {
			case err != nil:
				return err
			case equal:
				return c.unmet("got %s, want another value", shown(got))
			}
			return nil
		}),
		compared("contains", "Fails the test unless a text has a part, or a list, tuple or dict a member.", required("part", "any", "anything", "what is to be in it"), func(c *call, got, part starlark.Value) error {
			in, err := contains(got, part)
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", c.name, err)
			case !in:
				return c.unmet("got %s, want %s in it", shown(got), shown(part))
			}
			return nil
		}),
		compared("matches", "Fails the test unless a regular expression matches a part of a text.", required("pattern", "string", "a regular expression", "the expression"), func(c *call, got, pattern starlark.Value) error {
			text, isText := starlark.AsString(got)
			wanted, isPattern := starlark.AsString(pattern)
			if !isText || !isPattern {
				return fmt.Errorf("%s: got %s and %s, want two texts", c.name, got.Type(), pattern.Type())
			}
			expression, err := regexp.Compile(wanted)
			switch {
			case err != nil:
				return fmt.Errorf("%s: pattern: %w", c.name, err)
			case !expression.MatchString(text):
				return c.unmet("got %s, want a match of %s", shown(got), shown(pattern))
			}
			return nil
		}),
		{api.Builtin{
			Name: "true", Doc: "Fails the test unless a condition holds.", Returns: none,
			Params: []api.Parameter{required("condition", "any", "anything", "what is to be true"), optional("message", "string", "string", `""`, "what is wrong if it is not")},
		}, func(c *call) (starlark.Value, error) {
			var condition starlark.Value
			var message string
			if err := c.unpack("condition", &condition, "message?", &message); err != nil {
				return nil, err
			}
			if !condition.Truth() {
				if message == "" {
					message = "got " + shown(condition) + ", want something that is true"
				}
				return nil, c.unmet("%s", message)
			}
			return nil, nil
		}},
	}
}

func contains(container, part starlark.Value) (bool, error) {
	if text, ok := starlark.AsString(container); ok {
		wanted, ok := starlark.AsString(part)
		if !ok {
			return false, fmt.Errorf("part: got %s, want a text, as the first argument is one", part.Type())
		}
		return strings.Contains(text, wanted), nil
	}
	members, ok := container.(starlark.Iterable)
	if !ok {
		return false, fmt.Errorf("got %s, want a text, list, tuple or dict", container.Type())
	}
	for member := range starlark.Elements(members) {
		if equal, err := starlark.Equal(member, part); err == nil && equal {
			return true, nil
		}
	}
	return false, nil
}
