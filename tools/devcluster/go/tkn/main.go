// Command tkn is Tekton's command line, with those of its commands that llmatrix's users meet.
package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/tektoncd/cli/pkg/cli"
	"github.com/tektoncd/cli/pkg/cmd/pipeline"
	"github.com/tektoncd/cli/pkg/cmd/pipelinerun"
	"github.com/tektoncd/cli/pkg/cmd/task"
	"github.com/tektoncd/cli/pkg/cmd/taskrun"
	"github.com/tektoncd/cli/pkg/cmd/version"
)

func main() {
	params := &cli.TektonParams{}
	root := &cobra.Command{Use: "tkn", Short: "CLI for tekton pipelines", SilenceUsage: true}
	root.AddCommand(
		pipeline.Command(params),
		pipelinerun.Command(params),
		task.Command(params),
		taskrun.Command(params),
		version.Command(params),
	)
	if root.Execute() != nil {
		os.Exit(1)
	}
}
