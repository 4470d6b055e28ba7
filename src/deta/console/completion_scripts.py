"""What makes a shell ask ``deta completion answer`` for the words with which a line may go on."""

from collections.abc import Mapping

_BASH = r"""_deta() {
    local program=$1
    [[ $program == "~/"* ]] && program=$HOME/${program#"~/"}
    mapfile -t COMPREPLY < <("$program" completion answer bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F _deta deta"""

_ZSH = r"""#compdef deta
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_deta() {
    local -a whole open shown_whole shown_open
    local answer word line="${(j: :)${(@)words[1,CURRENT-1]}} $PREFIX"
    for answer in "${(@f)$(${~words[1]} completion answer zsh "$line" 2>/dev/null)}"; do
        [[ -z $answer ]] && continue
        word=${answer%%$'\t'*}
        if [[ $word == *[=./] ]]; then
            open+=("$word"); shown_open+=("${answer/$'\t'/  -- }")
        else
            whole+=("$word"); shown_whole+=("${answer/$'\t'/  -- }")
        fi
    done
    (( $#open )) && compadd -S '' -ld shown_open -a open
    (( $#whole )) && compadd -ld shown_whole -a whole
}
compdef _deta deta"""

_FISH = r"""function __deta_complete
    set -l words (commandline -opc)
    $words[1] completion answer fish (commandline -cp | string collect) 2>/dev/null
end
complete -c deta -f -a '(__deta_complete)'"""

SCRIPTS: Mapping[str, str] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""By the name of the shell."""
