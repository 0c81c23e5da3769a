# make.sh: a tree of generated rules, patterns and functions, two jobs at a time, then again with
# nothing to do and with one file changed.
set -e
cat > Makefile << 'END'
numbers := $(shell seq 1 40)
outputs := $(patsubst %,out%.txt,$(numbers))
all: total.txt
define rule
out$(1).txt: in$(1).txt common.txt
	@cat $$^ | tr a-z A-Z > $$@
endef
$(foreach n,$(numbers),$(eval $(call rule,$(n))))
in%.txt:
	@echo 'input $*' > $@
common.txt:
	@echo common > $@
total.txt: $(outputs)
	@cat $(sort $^) > $@
	@echo $(words $^) parts, $(firstword $(sort $(subst out,part,$^)))
.SECONDARY:
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
$(info $(call reverse,$(wordlist 1,30,$(numbers))))
END
make -s -j2
md5sum total.txt
make -s -j2
echo changed > common.txt
make -s -j2
md5sum total.txt
make -pqn | grep -c '^out' || true
