// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"regexp"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// Credentials are how to log in to a guest. The zero value is root without a
// password.
type Credentials struct {
	Username string      // "" is root
	Password host.Secret // also the answer to keyboard-interactive questions
	Key      host.Secret // a private key, PEM; SSH tries it before the password

	// Prompt is what ends the terminal's last line when a shell on the serial
	// console is ready (virt-test's shell_prompt); nil is defaultPrompt. It is
	// needed at login only. SSH does not need it.
	Prompt *regexp.Regexp

	// KeyExchanges and Ciphers are what SSH offers, best first; nil offers
	// everything, beginning with what an emulated CPU computes fastest.
	KeyExchanges, Ciphers []string
}

func (c Credentials) username() string {
	if c.Username == "" {
		return "root"
	}
	return c.Username
}

// defaultPrompt is virt-test's usual shell_prompt. Its $ is the end of the last
// line.
var defaultPrompt = regexp.MustCompile(`[#$] ?$`)

// defaultTimeout is the limit of a command that is given none.
const defaultTimeout = 60 * time.Second

// ErrRefused is matched when the guest answers and rejects the credentials: a
// retry does not help. A login that fails without it may be retried (nothing
// listens, the guest boots, the connection broke, a timeout).
var ErrRefused = errors.New("login refused")
