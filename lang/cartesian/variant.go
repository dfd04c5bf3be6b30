// SPDX-License-Identifier: Apache-2.0

package cartesian

// A Variant is one point of a config's product. It belongs to whoever received it.
type Variant struct {
	Name      string   // all labels on the way to it, outermost first
	ShortName string   // the same without set names and without the labels of variants marked "@"
	Dep       []string // names of the variants it depends on; nothing here resolves them
	Params    Params   // all settings, name and shortname included

	// Labels by the base name of the file that each variant stands in: as in Name, and as in ShortName but with "@" ones.
	// nil when there are none.
	NameMapFile, ShortNameMapFile map[string]string
}
