// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/migration"
)

// The package's documentation has the current table of steps.
func TestStepsAreDocumented(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "migration.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(migration.DescribeSteps()) {
		want.WriteString("\t" + line)
	}
	if doc := file.Doc.Text(); !strings.Contains(doc, want.String()) {
		t.Errorf("the package's documentation lacks this table:\n%s", want.String())
	}
}
