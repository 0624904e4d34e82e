package guest

// dialKey is on the kernel's command line: where init finds this process.
const dialKey = "guest.dial"

// Where the kernel and the initial file system for a kexec are put.
const (
	kexecKernel = "/tmp/kernel"
	kexecInitrd = "/tmp/initrd"
)

// What init does.
const (
	OpRun       = "run"     // Args: a program, until it ends
	OpStart     = "start"   // Args: a program, in the background; its output is in Path
	OpSignal    = "signal"  // Number to the program started as PID
	OpWait      = "wait"    // for the program started as PID
	OpRead      = "read"    // Path
	OpList      = "list"    // the names in the folder Path, a line each
	OpWrite     = "write"   // Data to Path
	OpMeasure   = "measure" // Number new files for IMA, named after Text
	OpAgain     = "again"   // the last file for IMA is written anew with what it has, and read
	OpViolate   = "violate" // a violation: a file that is written while it is read
	OpHold      = "hold"    // Path stays open for reading
	OpRelease   = "release"
	OpCommand   = "command"    // Text written to Path with one write
	OpMount     = "mount"      // a tmpfs at Path with options Text; Number are mount's flags
	OpSend      = "send"       // Data to the TPM at Path; its answer is Stdout
	OpGive      = "give"       // Path to user and group Number, with mode 0660
	OpKexec     = "kexec"      // with command line Text
	OpKexecLost = "kexec-lost" // the same, and the list is not carried over
	OpPowerOff  = "poweroff"
)

// A Request tells init what to do.
type Request struct {
	Op     string   `json:"op"`
	Args   []string `json:"args,omitempty"`
	Env    []string `json:"env,omitempty"`
	Path   string   `json:"path,omitempty"`
	Text   string   `json:"text,omitempty"`
	Data   []byte   `json:"data,omitempty"`
	Number int      `json:"number,omitempty"`
	PID    int      `json:"pid,omitempty"`
	// Capabilities are those that a program may have (capabilities(7)), nil for all.
	Capabilities []int `json:"capabilities,omitempty"`
}

// A Response is what came of it.
type Response struct {
	Error  string `json:"error,omitempty"`
	Code   int    `json:"code"` // exit code
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	PID    int    `json:"pid,omitempty"`
}

// DialKey and the paths of a kexec, for init.
const (
	DialKey     = dialKey
	KexecKernel = kexecKernel
	KexecInitrd = kexecInitrd
)

// MeasuredOwner owns the files of OpMeasure and OpViolate: a policy's rule with
// fowner=4711 measures these and nothing else.
const MeasuredOwner = 4711

// OtherOwner owns files which another rule measures into PCR 11.
const OtherOwner = 4712
