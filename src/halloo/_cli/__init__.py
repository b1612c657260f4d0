"""What a person types: argv becomes a verb, its report, a text and an exit code."""
