// SPDX-License-Identifier: Apache-2.0

package sshconfig

// effect is what mhmig does about an option that is not at ssh's default.
type effect int

const (
	heeded   effect = iota // mhmig does as ssh does
	harmless               // it does not decide where, as whom and with which keys one connects
	told                   // mhmig goes on without it, and says so
	refused                // the connection would be another than ssh's
	clients                // only OpenSSH's client can work it out; without it, it is refused
)

// kind is how the value of an option is written.
type kind int

const (
	word    kind = iota // one word
	files               // words, each a file name
	several             // one word each time; all of them count
	number
	seconds // a number of seconds, or with units: 1m30s
	flag    // yes, no or a word like them
	list    // names, separated by commas
	line    // anything
)

// keyword is what is known of an option.
type keyword struct {
	kind   kind
	effect effect
	why    string // of what is told or refused
}

// keywords are OpenSSH's options, by their names in lower case.
var keywords = map[string]keyword{
	// where
	"host":                        {word, heeded, ""}, // of ssh -G: the name that was asked for
	"hostname":                    {word, heeded, ""},
	"port":                        {number, heeded, ""},
	"addressfamily":               {word, heeded, ""},
	"bindaddress":                 {word, heeded, ""},
	"bindinterface":               {word, heeded, ""},
	"connectionattempts":          {number, heeded, ""},
	"connecttimeout":              {seconds, heeded, ""},
	"proxyjump":                   {word, heeded, ""},
	"proxycommand":                {line, refused, "mhmig cannot connect by a ProxyCommand; ProxyJump does the same for most"},
	"proxyusefdpass":              {flag, harmless, ""}, // says how ProxyCommand is used
	"canonicaldomains":            {line, harmless, ""}, // say how CanonicalizeHostname is done
	"canonicalizefallbacklocal":   {flag, harmless, ""},
	"canonicalizehostname":        {word, clients, "needs OpenSSH's client to be worked out"},
	"canonicalizemaxdots":         {number, harmless, ""},
	"canonicalizepermittedcnames": {line, clients, "needs OpenSSH's client to be worked out"},
	"refuseconnection":            {line, refused, "so the configuration says"},

	// as whom, with which keys
	"user":                         {word, heeded, ""},
	"identityfile":                 {several, heeded, ""},
	"certificatefile":              {several, heeded, ""},
	"identitiesonly":               {flag, heeded, ""},
	"identityagent":                {word, heeded, ""},
	"pubkeyauthentication":         {word, heeded, ""},
	"passwordauthentication":       {flag, heeded, ""},
	"kbdinteractiveauthentication": {flag, heeded, ""},
	"preferredauthentications":     {list, heeded, ""},
	"pubkeyacceptedalgorithms":     {list, heeded, ""},
	"requiredrsasize":              {number, heeded, ""},
	"gssapiauthentication":         {flag, harmless, ""}, // a failed login tells it
	"gssapiclientidentity":         {word, harmless, ""},
	"gssapidelegatecredentials":    {flag, harmless, ""},
	"gssapikexalgorithms":          {list, harmless, ""},
	"gssapikeyexchange":            {flag, told, "mhmig does not speak GSSAPI"},
	"gssapirenewalforcesrekey":     {flag, harmless, ""},
	"gssapiserveridentity":         {word, harmless, ""},
	"gssapitrustdns":               {flag, harmless, ""},
	"hostbasedauthentication":      {flag, told, "mhmig does not log in by its host's key"},
	"hostbasedacceptedalgorithms":  {list, harmless, ""},
	"pkcs11provider":               {word, told, "mhmig cannot use the keys of a PKCS#11 provider; an agent can"},
	"securitykeyprovider":          {word, harmless, ""}, // a key that needs it is told of
	"addkeystoagent":               {line, harmless, ""},
	"forwardagent":                 {word, harmless, ""},
	"batchmode":                    {flag, harmless, ""},
	"numberofpasswordprompts":      {number, harmless, ""},

	// whom to trust
	"hostkeyalias":                     {word, heeded, ""},
	"userknownhostsfile":               {files, heeded, ""},
	"globalknownhostsfile":             {files, heeded, ""},
	"stricthostkeychecking":            {word, heeded, ""},
	"checkhostip":                      {flag, heeded, ""},
	"hashknownhosts":                   {flag, heeded, ""},
	"nohostauthenticationforlocalhost": {flag, heeded, ""},
	"revokedhostkeys":                  {word, heeded, ""},
	"hostkeyalgorithms":                {list, heeded, ""},
	"casignaturealgorithms":            {list, heeded, ""},
	"knownhostscommand":                {line, refused, "mhmig asks no KnownHostsCommand for host keys; write them into a known_hosts file"},
	"verifyhostkeydns":                 {word, told, "mhmig does not look for host keys in DNS"},
	"updatehostkeys":                   {word, harmless, ""},

	// how
	"ciphers":             {list, heeded, ""},
	"macs":                {list, heeded, ""},
	"kexalgorithms":       {list, heeded, ""},
	"tcpkeepalive":        {flag, heeded, ""},
	"serveraliveinterval": {seconds, heeded, ""},
	"serveralivecountmax": {number, heeded, ""},

	// what a session is like, messages, files that only ssh writes
	"channeltimeout":          {line, harmless, ""},
	"clearallforwardings":     {flag, harmless, ""},
	"compression":             {flag, harmless, ""},
	"controlmaster":           {word, harmless, ""},
	"controlpath":             {line, harmless, ""},
	"controlpersist":          {word, harmless, ""},
	"dynamicforward":          {line, harmless, ""},
	"enableescapecommandline": {flag, harmless, ""},
	"enablesshkeysign":        {flag, harmless, ""},
	"escapechar":              {word, harmless, ""},
	"exitonforwardfailure":    {flag, harmless, ""},
	"fingerprinthash":         {word, harmless, ""},
	"forkafterauthentication": {flag, harmless, ""},
	"forwardx11":              {flag, harmless, ""},
	"forwardx11timeout":       {seconds, harmless, ""},
	"forwardx11trusted":       {flag, harmless, ""},
	"gatewayports":            {flag, harmless, ""},
	"ignoreunknown":           {line, harmless, ""},
	"ipqos":                   {line, harmless, ""},
	"kbdinteractivedevices":   {word, harmless, ""},
	"localcommand":            {line, harmless, ""},
	"localforward":            {line, harmless, ""},
	"loglevel":                {word, harmless, ""},
	"logverbose":              {line, harmless, ""},
	"obscurekeystroketiming":  {line, harmless, ""},
	"permitlocalcommand":      {flag, harmless, ""},
	"permitremoteopen":        {line, harmless, ""},
	"rekeylimit":              {line, harmless, ""},
	"remotecommand":           {line, harmless, ""},
	"remoteforward":           {line, harmless, ""},
	"requesttty":              {word, harmless, ""},
	"sendenv":                 {line, harmless, ""},
	"sessiontype":             {word, harmless, ""},
	"setenv":                  {line, harmless, ""},
	"stdinnull":               {flag, harmless, ""},
	"streamlocalbindmask":     {word, harmless, ""},
	"streamlocalbindunlink":   {flag, harmless, ""},
	"syslogfacility":          {word, harmless, ""},
	"tag":                     {word, harmless, ""}, // only Match looks at it
	"tunnel":                  {word, harmless, ""},
	"tunneldevice":            {word, harmless, ""},
	"versionaddendum":         {line, harmless, ""},
	"visualhostkey":           {flag, harmless, ""},
	"warnweakcrypto":          {line, harmless, ""},
	"xauthlocation":           {word, harmless, ""},
}

// aliases are other names of options that ssh still takes.
var aliases = map[string]string{
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"hostbasedkeytypes":               "hostbasedacceptedalgorithms",
	"identityfile2":                   "identityfile",
	"keepalive":                       "tcpkeepalive",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"skeyauthentication":              "kbdinteractiveauthentication",
	"smartcarddevice":                 "pkcs11provider",
	"tisauthentication":               "kbdinteractiveauthentication",
	"dsaauthentication":               "pubkeyauthentication",
}
