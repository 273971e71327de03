# The one entry point. Each target installs and builds what it needs, and only what changed.
# As root, the work is done by an ordinary user all the same (scripts/as-user).

SHELL := /bin/bash
AS_USER := scripts/as-user
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint faults fuzz soak sif guest warm bench clean lock def setup

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 14

run: setup ## build what is missing, then start a desktop: make run ARGS="--memory 4G"
	@$(AS_USER) scripts/run $(ARGS) || [ $$? = 130 ] # Ctrl-C is a good end

test: ## lint, unit tests and session tests: all of them, or make test ARGS="-k name"
	@scripts/setup run test
	@$(AS_USER) scripts/test all $(ARGS)

lint: ## ruff, mypy and shellcheck
	@scripts/setup run test
	@$(AS_USER) scripts/test lint

faults: ## kill, stop, fill and remove at random, and see that nothing is lost: make faults ARGS="--rounds 1000"
	@scripts/setup run test
	@$(AS_USER) scripts/test faults $(ARGS)

fuzz: ## made-up bytes for every parser of foreign ones: make fuzz ARGS="--minutes 30"
	@scripts/setup run test
	@$(AS_USER) scripts/test fuzz $(ARGS)

soak: ## sessions come and go for hours, and nothing may grow: make soak ARGS="--hours 8"
	@scripts/setup run test
	@$(AS_USER) scripts/test soak $(ARGS)

sif: setup ## build the appliance: build/7lbd.sif
	@$(AS_USER) scripts/build-sif

guest: setup ## build the demo guest: build/images/demo/
	@$(AS_USER) scripts/build-guest

warm: setup ## freeze the demo guest when it is ready, so that the next desktop takes seconds
	@$(AS_USER) scripts/build-sif
	@$(AS_USER) scripts/build-guest
	@$(AS_USER) scripts/warm-guest

bench: ## measure, print a table, write JSON
	@scripts/setup run test
	@$(AS_USER) scripts/test bench $(ARGS)

def: setup ## print the Apptainer definition that starts from Debian's own image
	@$(AS_USER) scripts/build-sif definition

lock: ## pin all Python packages anew
	@scripts/lock

clean: ## remove all that was built
	@$(AS_USER) scripts/clean

setup: # install what building and running needs
	@scripts/setup run
