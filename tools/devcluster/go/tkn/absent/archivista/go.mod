module github.com/in-toto/archivista

go 1.24.0
