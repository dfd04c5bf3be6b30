// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"maps"
	"path/filepath"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
)

// Text returns the findings in a file whose text is given, such as one that an editor has not saved, in order: what Files
// finds in it alone. Findings in the files that it includes are not among them. Part says that it is a config that only
// makes sense where others include it: then only its own text is looked at.
func Text(reader cartesian.Reader, name, text string, part bool) diag.List {
	if filepath.Ext(name) == star.Extension {
		return Program(reader.Libraries, name, []byte(text))
	}
	list := unknownParams(name, text)
	if part {
		list = append(list, diag.Of(cartesian.Syntax(name, text))...)
	} else {
		texts := maps.Clone(reader.Texts)
		if texts == nil {
			texts = map[string]string{}
		}
		texts[name] = text
		reader.Texts = texts
		for _, d := range config(reader, name) {
			if d.Pos.File == name {
				list = append(list, d)
			}
		}
	}
	list.Sort()
	return list
}
