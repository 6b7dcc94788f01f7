"""The command `octavo`: one file per subcommand, imported only when it is the one that was typed."""
