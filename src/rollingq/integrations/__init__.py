"""RollingQ in training frameworks; each module imports its host only when it is used."""
