// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// connect logs in to the host. Runs by CI have nobody who types a password, so one from
// a param is a warning.
func connect(ctx context.Context, m *machine) finding {
	h, err := host.Dial(ctx, m.config, m.c.Log)
	if err != nil {
		return failBy(err)
	}
	facts, err := h.Facts(ctx)
	var took time.Duration
	if err == nil {
		took, err = h.RoundTrip(ctx)
	}
	if err != nil {
		_ = h.Close() // nothing runs there
		return failBy(err)
	}
	m.h, m.facts = h, facts
	return judgeLogin(h.Login(), h.Config(), facts, took)
}

// judgeLogin is the verdict on how mhmig has logged in.
func judgeLogin(l host.Login, c host.Config, facts host.Facts, took time.Duration) finding {
	by := l.Key
	switch {
	case l.Method == "":
		by = "no authentication"
	case by == "":
		by = "its password"
	}
	found := fmt.Sprintf("%s by %s, round trip %.1f ms, %s", facts.User, by, took.Seconds()*1000, facts.OS)
	if l.Method == "password" || l.Method == "keyboard-interactive" {
		return warn(found+": the config holds a password", fmt.Sprintf("ssh-copy-id -p %d %s@%s", c.Port, c.User, c.Address))
	}
	return ok("%s", found)
}

// withoutSuffix is strings.TrimSuffix, but keeps text that would be empty.
func withoutSuffix(text, suffix string) string {
	if short := strings.TrimSuffix(text, suffix); short != "" {
		return short
	}
	return text
}
