// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

// placedProperties are set by mhmig: another value would put the device elsewhere on one
// end of a migration, or take it away from its backend.
var placedProperties = []string{"id", "bus", "addr", "drive", "netdev", "mac", "unit", "scsi-id", "chardev", "bootindex"}

// parseExtra parses a param with further properties of a device: NAME=VALUE, separated
// by commas. virt-test's form begins with a comma.
func parseExtra(v api.Values, param string) []Property {
	var properties []Property
	for field := range strings.SplitSeq(v.Text(param), ",") {
		field = strings.TrimSpace(field)
		if field == "" {
			continue
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok || name == "" || value == "" {
			v.Invalid(param, "properties such as serial=A1,physical_block_size=4096")
			return nil
		}
		if slices.Contains(placedProperties, name) {
			v.Invalid(param, "no property "+name+", which mhmig sets, equally on all hosts")
			return nil
		}
		properties = append(properties, Property{name, value})
	}
	return properties
}

// takeProperty removes a property, and returns its value, "" if it is not there.
func takeProperty(properties []Property, name string) (value string, rest []Property) {
	for _, p := range properties {
		if p.Name == name {
			value = p.text()
			continue
		}
		rest = append(rest, p)
	}
	return value, rest
}

// propertyText is the properties as a param has them, in an order that does not depend
// on it; none if there are none, since a setting without a value would be one of an
// object that is missing.
func propertyText(properties []Property) string {
	if len(properties) == 0 {
		return "none"
	}
	var fields []string
	for _, p := range properties {
		fields = append(fields, p.Name+"="+p.text())
	}
	slices.Sort(fields)
	return strings.Join(fields, ",")
}
