// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
)

// bound is a limit of a measured value: "<300ms".
type bound struct {
	text  string
	op    string
	limit float64 // in the measure's unit
}

// admits says whether a value is within the bound.
func (b bound) admits(v float64) bool {
	switch order := cmp.Compare(v, b.limit); b.op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

// The types of bounds unpack to bound.
var (
	// A mere number would be seconds, as elsewhere, to some, and to others milliseconds, as in mig.stats.
	timeBound = boundType(`a limit of a time with its unit, such as "<300ms"`, func(text string) (float64, bool) {
		d, err := time.ParseDuration(text)
		return float64(d) / float64(time.Millisecond), err == nil
	})
	countBound = boundType(`a limit of a number, such as "<=5"`, func(text string) (float64, bool) {
		n, err := strconv.ParseFloat(text, 64)
		return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
	})
	bytesBound = boundType(`a limit of a size, such as "<2G"`, func(text string) (float64, bool) {
		n, err := cartesian.Params{"size": text}.Size("size", 0, 1)
		return float64(n), err == nil
	})
)

func boundType(want string, parse func(string) (float64, bool)) Type {
	return Type{Want: want, Name: "string", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		text, _ := starlark.AsString(v)
		for _, op := range []string{"<=", ">=", "<", ">"} {
			number, found := strings.CutPrefix(strings.TrimSpace(text), op)
			if !found {
				continue
			}
			if limit, ok := parse(strings.TrimSpace(number)); ok {
				return bound{text, op, limit}, nil
			}
			break
		}
		return nil, nil
	}}
}

// measure is a value of a migration's statistics that threshold limits.
type measure struct {
	param Param
	of    func(stats map[string]any) (float64, bool)
	show  func(float64) string
}

// statistic is a time of mig.stats, in milliseconds.
func statistic(name string, doc string) measure {
	key := strings.ReplaceAll(name, "_", "-")
	if strings.HasPrefix(name, "guest_") {
		key = name
	}
	return measure{Param{name, timeBound, None, doc}, func(stats map[string]any) (float64, bool) { return number(stats[key]) }, showTime}
}

func showTime(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case int:
		return float64(v), true
	}
	return 0, false
}

var measures = []measure{
	statistic("downtime", "QEMU's downtime"),
	statistic("total_time", "QEMU's total-time"),
	statistic("setup_time", "QEMU's setup-time"),
	{Param{"transferred", bytesBound, None, "how much RAM was sent"}, func(stats map[string]any) (float64, bool) {
		ram, _ := stats["ram"].(map[string]any)
		return number(ram["transferred"])
	}, func(v float64) string { return fmt.Sprintf("%.0f bytes", v) }},
	{Param{"passes", countBound, None, "how many passes over the RAM were completed"}, func(stats map[string]any) (float64, bool) {
		p := result.Sample{Query: stats}.Progress()
		return float64(p.Passes()), p.Pass > 0
	}, func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }},
	statistic("guest_downtime", "mig.stats guest_downtime: as the guest's clock stamps show it"),
	statistic("guest_clock_stop", "mig.stats guest_clock_stop"),
	statistic("guest_brownout", "mig.stats guest_brownout"),
	statistic("guest_longest_gap", "mig.stats guest_longest_gap"),
	statistic("guest_silence", "mig.stats guest_silence"),
}

var thresholdFunction = &Builtin{
	Name: "threshold", Params: thresholdParams(),
	Doc: "Compares a completed migration with limits, for each VM: a value beyond its limit is a FAIL that names all such values; one that was not measured is an ERROR. " +
		"A limit is <, <=, > or >= and a number: \"<300ms\", \"<=5\", \"<2G\"; a time has its unit. The values are logged.",
	Returns: Nothing,
	Fn:      thresholdFn,
}

func thresholdParams() []Param {
	params := []Param{{"mig", Migration, Required, "a migration that has completed: after mig.join"}}
	for _, m := range measures {
		params = append(params, m.param)
	}
	return params
}

func thresholdFn(t *task.Task, a *Args) (starlark.Value, error) {
	r := arg[*running](a, "mig")
	if status := r.State(); status != "completed" {
		return nil, misusef("mig: the migration is %s, want one that has completed: after mig.join", status)
	}
	all, given := r.Stats(), 0
	var beyond []string
	for _, m := range measures {
		if !a.Has(m.param.Name) {
			continue
		}
		given++
		limit := arg[bound](a, m.param.Name)
		for _, vm := range r.VMs() {
			v, measured := m.of(all[vm])
			switch {
			case !measured && strings.HasPrefix(m.param.Name, "guest_"):
				return nil, misusef("%s: not measured for %s; the guest must send clock stamps: see the param guest_clock", m.param.Name, vm)
			case !measured:
				return nil, misusef("%s: QEMU has not reported it for %s", m.param.Name, vm)
			case !limit.admits(v):
				beyond = append(beyond, fmt.Sprintf("%s: %s is %s, want %s", vm, m.param.Name, m.show(v), limit.text))
			}
			logger(t).Info("threshold", result.MigrationKey, r.Number, "vm", vm, "measure", m.param.Name, "value", m.show(v), "limit", limit.text, result.AtKey, position(t))
		}
	}
	switch {
	case given == 0:
		return nil, misusef("no limit given, want one or more of them, such as downtime = \"<300ms\"")
	case len(beyond) > 0:
		return nil, result.Fail.Wrap(errors.New("threshold: " + strings.Join(beyond, "; ")))
	}
	return nil, nil
}
