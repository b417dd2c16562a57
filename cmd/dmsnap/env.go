package main

import (
	"context"
	"io"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// Env is what a command works with besides its own flags.
type Env struct {
	Stdout  io.Writer
	Stderr  io.Writer
	JSON    bool
	Colour  bool      // of what is printed for people
	Verbose bool      // they want to know more
	Now     time.Time // when the command began
	Config  string    // path of the configuration file
	Manager manager
	// StateDir is for processes that this one starts.
	StateDir string
}

// manager is the part of dm.Manager the commands use.
type manager interface {
	Create(ctx context.Context, r dm.CreateRequest) (*dm.Set, error)
	Exec(ctx context.Context, r dm.ExecRequest) (*dm.Execution, error)
	Prepare(ctx context.Context, r dm.CreateRequest) (*dm.Prepared, error)
	PlanCreate(ctx context.Context, r dm.CreateRequest) (*dm.Plan, error)
	Extend(ctx context.Context, r dm.ExtendRequest) (*dm.Set, error)
	PlanExtend(ctx context.Context, r dm.ExtendRequest) (*dm.Plan, error)
	Bookmark(ctx context.Context, r dm.BookmarkRequest) (*dm.Set, error)
	PlanBookmark(ctx context.Context, r dm.BookmarkRequest) (*dm.Plan, error)
	Monitor(ctx context.Context, r dm.MonitorRequest) error
	PlanRemove(ctx context.Context, r dm.RemoveRequest) (*dm.Plan, error)
	Remove(ctx context.Context, r dm.RemoveRequest) error
	Prune(ctx context.Context, r dm.PruneRequest) ([]dm.Pruned, error)
	List(ctx context.Context) ([]dm.Set, error)
	Show(ctx context.Context, name string) (*dm.Set, error)
	MountWith(ctx context.Context, r dm.MountRequest) ([]dm.Mounted, error)
	Unmount(ctx context.Context, name string) error
	Attach(ctx context.Context, origin string) (*dm.Attachment, error)
	AttachLayer(ctx context.Context, origin, table string) (*dm.Attachment, error)
	Detach(ctx context.Context, origin string) error
	Recover(ctx context.Context) (*dm.Recovered, error)
	Changed(ctx context.Context, r dm.ChangedRequest) (*dm.ExtentList, error)
	Allocated(ctx context.Context, r dm.AllocatedRequest) (*dm.ExtentList, error)
	Hold(ctx context.Context, name string) (*dm.Set, error)
	Release(ctx context.Context, name string) (*dm.Set, error)
	Thaw(ctx context.Context, all bool) (*dm.Thawed, error)
	Invalidate(ctx context.Context, name string) error
	Unpin(ctx context.Context) ([]dm.Unpinned, error)
	Doctor(ctx context.Context, origins ...string) (*dm.Report, error)
	Why(ctx context.Context, name string, sample time.Duration) (*dm.Explanation, error)
	Graph(ctx context.Context, names ...string) (*dm.Graph, error)
}
