// SPDX-License-Identifier: Apache-2.0

package explore

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// AbilitiesScenario is a scenario that finds out what the hosts and their QEMUs are able
// to do, and saves it as the artifact [AbilitiesArtifact]. It starts the main VM's QEMU on
// each host, and logs in to no guest.
//
//go:embed abilities.star
var AbilitiesScenario []byte

// AbilitiesArtifact is the name of what AbilitiesScenario saves.
const AbilitiesArtifact = "abilities.json"

// Abilities are what one host and its QEMU are able to do.
type Abilities struct {
	Capabilities []string `json:"capabilities"` // of migrations: QMP query-migrate-capabilities
	Parameters   []string `json:"parameters"`   // of migrations: QMP query-migrate-parameters
	Userfaultfd  bool     `json:"userfaultfd"`  // QEMU may use it: post-copy needs it
	Firewall     bool     `json:"firewall"`     // ports can be blocked: root, and nft
	Connector    bool     `json:"connector"`    // there is a program for mig_protocol = exec
	Descriptors  bool     `json:"descriptors"`  // mhmig's program for mig_protocol = fd runs
	Machine      string   `json:"machine"`      // equal for hosts that are one machine
}

// ParseAbilities reads what AbilitiesScenario has saved: those of each host.
func ParseAbilities(content []byte) ([]Abilities, error) {
	var all []Abilities
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("what the hosts are able to do: %w", err)
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("a walk needs two hosts, and the run has %d", len(all))
	}
	for _, a := range all {
		if len(a.Capabilities) == 0 {
			return nil, errors.New("a QEMU has no migration capabilities: it does not say what it is able to do")
		}
	}
	return all, nil
}

// everywhere says whether all hosts are able to.
func everywhere(all []Abilities, able func(Abilities) bool) bool {
	return !slices.ContainsFunc(all, func(a Abilities) bool { return !able(a) })
}
