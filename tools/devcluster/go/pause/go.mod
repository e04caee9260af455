module github.com/llmatrix/llmatrix/tools/devcluster/go/pause

go 1.24.0
