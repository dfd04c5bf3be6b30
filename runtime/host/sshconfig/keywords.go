// SPDX-License-Identifier: Apache-2.0

package sshconfig

// effect is what mhmig does about an option that is not at ssh's default.
type effect int

const (
	supported    effect = iota // mhmig does as ssh does
	ignored                    // it does not decide where, as whom and with which keys one connects
	warned                     // mhmig goes on without it, and says so
	rejected                   // the connection would be another than ssh's
	needsOpenSSH               // only OpenSSH's client can work it out; without it, it is refused
)

// kind is how the value of an option is written.
type kind int

const (
	word     kind = iota // one word
	files                // words, each a file name
	repeated             // one word each time; all of them count
	number
	seconds // a number of seconds, or with units: 1m30s
	flag    // yes, no or a word like them
	list    // names, separated by commas
	anyText // anything
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
	"host":                        {word, supported, ""}, // of ssh -G: the name that was asked for
	"hostname":                    {word, supported, ""},
	"port":                        {number, supported, ""},
	"addressfamily":               {word, supported, ""},
	"bindaddress":                 {word, supported, ""},
	"bindinterface":               {word, supported, ""},
	"connectionattempts":          {number, supported, ""},
	"connecttimeout":              {seconds, supported, ""},
	"proxyjump":                   {word, supported, ""},
	"proxycommand":                {anyText, rejected, "mhmig cannot connect by a ProxyCommand; ProxyJump does the same for most"},
	"proxyusefdpass":              {flag, ignored, ""},    // says how ProxyCommand is used
	"canonicaldomains":            {anyText, ignored, ""}, // say how CanonicalizeHostname is done
	"canonicalizefallbacklocal":   {flag, ignored, ""},
	"canonicalizehostname":        {word, needsOpenSSH, "needs OpenSSH's client to be worked out"},
	"canonicalizemaxdots":         {number, ignored, ""},
	"canonicalizepermittedcnames": {anyText, needsOpenSSH, "needs OpenSSH's client to be worked out"},
	"refuseconnection":            {anyText, rejected, "so the configuration says"},

	// as whom, with which keys
	"user":                         {word, supported, ""},
	"identityfile":                 {repeated, supported, ""},
	"certificatefile":              {repeated, supported, ""},
	"identitiesonly":               {flag, supported, ""},
	"identityagent":                {word, supported, ""},
	"pubkeyauthentication":         {word, supported, ""},
	"passwordauthentication":       {flag, supported, ""},
	"kbdinteractiveauthentication": {flag, supported, ""},
	"preferredauthentications":     {list, supported, ""},
	"pubkeyacceptedalgorithms":     {list, supported, ""},
	"requiredrsasize":              {number, supported, ""},
	"gssapiauthentication":         {flag, ignored, ""}, // a failed login tells it
	"gssapiclientidentity":         {word, ignored, ""},
	"gssapidelegatecredentials":    {flag, ignored, ""},
	"gssapikexalgorithms":          {list, ignored, ""},
	"gssapikeyexchange":            {flag, warned, "mhmig does not speak GSSAPI"},
	"gssapirenewalforcesrekey":     {flag, ignored, ""},
	"gssapiserveridentity":         {word, ignored, ""},
	"gssapitrustdns":               {flag, ignored, ""},
	"hostbasedauthentication":      {flag, warned, "mhmig does not log in by its host's key"},
	"hostbasedacceptedalgorithms":  {list, ignored, ""},
	"pkcs11provider":               {word, warned, "mhmig cannot use the keys of a PKCS#11 provider; an agent can"},
	"securitykeyprovider":          {word, ignored, ""}, // a key that needs it is told of
	"addkeystoagent":               {anyText, ignored, ""},
	"forwardagent":                 {word, ignored, ""},
	"batchmode":                    {flag, ignored, ""},
	"numberofpasswordprompts":      {number, ignored, ""},

	// whom to trust
	"hostkeyalias":                     {word, supported, ""},
	"userknownhostsfile":               {files, supported, ""},
	"globalknownhostsfile":             {files, supported, ""},
	"stricthostkeychecking":            {word, supported, ""},
	"checkhostip":                      {flag, supported, ""},
	"hashknownhosts":                   {flag, supported, ""},
	"nohostauthenticationforlocalhost": {flag, supported, ""},
	"revokedhostkeys":                  {word, supported, ""},
	"hostkeyalgorithms":                {list, supported, ""},
	"casignaturealgorithms":            {list, supported, ""},
	"knownhostscommand":                {anyText, rejected, "mhmig asks no KnownHostsCommand for host keys; write them into a known_hosts file"},
	"verifyhostkeydns":                 {word, warned, "mhmig does not look for host keys in DNS"},
	"updatehostkeys":                   {word, ignored, ""},

	// how
	"ciphers":             {list, supported, ""},
	"macs":                {list, supported, ""},
	"kexalgorithms":       {list, supported, ""},
	"tcpkeepalive":        {flag, supported, ""},
	"serveraliveinterval": {seconds, supported, ""},
	"serveralivecountmax": {number, supported, ""},

	// what a session is like, messages, files that only ssh writes
	"channeltimeout":          {anyText, ignored, ""},
	"clearallforwardings":     {flag, ignored, ""},
	"compression":             {flag, ignored, ""},
	"controlmaster":           {word, ignored, ""},
	"controlpath":             {anyText, ignored, ""},
	"controlpersist":          {word, ignored, ""},
	"dynamicforward":          {anyText, ignored, ""},
	"enableescapecommandline": {flag, ignored, ""},
	"enablesshkeysign":        {flag, ignored, ""},
	"escapechar":              {word, ignored, ""},
	"exitonforwardfailure":    {flag, ignored, ""},
	"fingerprinthash":         {word, ignored, ""},
	"forkafterauthentication": {flag, ignored, ""},
	"forwardx11":              {flag, ignored, ""},
	"forwardx11timeout":       {seconds, ignored, ""},
	"forwardx11trusted":       {flag, ignored, ""},
	"gatewayports":            {flag, ignored, ""},
	"ignoreunknown":           {anyText, ignored, ""},
	"ipqos":                   {anyText, ignored, ""},
	"kbdinteractivedevices":   {word, ignored, ""},
	"localcommand":            {anyText, ignored, ""},
	"localforward":            {anyText, ignored, ""},
	"loglevel":                {word, ignored, ""},
	"logverbose":              {anyText, ignored, ""},
	"obscurekeystroketiming":  {anyText, ignored, ""},
	"permitlocalcommand":      {flag, ignored, ""},
	"permitremoteopen":        {anyText, ignored, ""},
	"rekeylimit":              {anyText, ignored, ""},
	"remotecommand":           {anyText, ignored, ""},
	"remoteforward":           {anyText, ignored, ""},
	"requesttty":              {word, ignored, ""},
	"sendenv":                 {anyText, ignored, ""},
	"sessiontype":             {word, ignored, ""},
	"setenv":                  {anyText, ignored, ""},
	"stdinnull":               {flag, ignored, ""},
	"streamlocalbindmask":     {word, ignored, ""},
	"streamlocalbindunlink":   {flag, ignored, ""},
	"syslogfacility":          {word, ignored, ""},
	"tag":                     {word, ignored, ""}, // only Match looks at it
	"tunnel":                  {word, ignored, ""},
	"tunneldevice":            {word, ignored, ""},
	"versionaddendum":         {anyText, ignored, ""},
	"visualhostkey":           {flag, ignored, ""},
	"warnweakcrypto":          {anyText, ignored, ""},
	"xauthlocation":           {word, ignored, ""},
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
