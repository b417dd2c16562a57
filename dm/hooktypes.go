package dm

import "context"

// Hook is what a program does around the window for an application, such as a
// connection to a database that keeps it in backup mode. It is called after the hooks
// of CreateRequest.HookDirs have quiesced theirs, and released before them.
//
// What PreFreeze does must end with the process: nothing else ends it after a kill.
type Hook struct {
	// Name stands for it in plans, receipts and errors.
	Name string
	// PreFreeze returns when the application is quiet. Its context ends with the
	// operation's, or after CreateRequest.HookTimeout.
	PreFreeze func(ctx context.Context, set HookSet) error
	// End releases the application: HookPostThaw if the set exists, else HookAbort. It
	// is called once after PreFreeze has returned, with whatever result, and its
	// context does not end with the operation's. Only a PreFreeze that outlasts its
	// context is not waited for.
	End func(ctx context.Context, event HookEvent, set HookSet) error
}

// HookSet is the set that a hook is called for. Programs get it as JSON.
type HookSet struct {
	Name    string            `json:"name"`
	UUID    string            `json:"uuid"`
	Labels  map[string]string `json:"labels"`
	Volumes []HookVolume      `json:"volumes"`
}

// HookVolume is one volume of a HookSet.
type HookVolume struct {
	Name        string   `json:"name"`
	Origin      string   `json:"origin"`
	Mountpoints []string `json:"mountpoints"`
	Device      string   `json:"device"` // the image
}
