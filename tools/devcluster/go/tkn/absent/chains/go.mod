module github.com/tektoncd/chains

go 1.24.0
