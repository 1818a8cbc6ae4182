# bench/table.awk - the lines of bench/run.sh (part, bench, unit, ours, theirs, whose, floor) as text, Markdown or CSV.
# Seconds and MiB are better when they are fewer; everything else when it is more.
function cell(v) { return v == "" ? "-" : v + 0 >= 1000 ? sprintf("%.0f", v) : v + 0 >= 100 ? sprintf("%.1f", v) : sprintf("%.2f", v) }
function line(a, b, c, d, e, f, g, h) {
    if (form == "md") printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", a, b, c, d, e, f, g, h
    else if (form == "csv") printf "\"%s\",\"%s\",%s,%s,\"%s\",%s,%s,%s\n", a, b, c, d, e, f, g, h
    else printf "%-58s %-8s %9s %9s  %-30s %6s %6s  %s\n", a, b, c, d, e, f, g, h
}
BEGIN {
    line("bench", "unit", "ours", "theirs", "whose", "ratio", "floor", "met")
    if (form == "md") print "|---|---|---:|---:|---|---:|---:|---|"
}
{
    ratio = met = ""
    if ($4 != "" && $5 != "" && $4 + 0 > 0 && $5 + 0 > 0) {
        less = $3 == "s" || $3 == "MiB"
        ratio = less ? $5 / $4 : $4 / $5
        if ($7 != "") met = ratio >= $7 ? "yes" : "no"
        if (met == "no") missed++; else if (met == "yes") kept++
        ratio = sprintf("%.2f", ratio)
    } else if ($7 != "") { met = "not measured"; open++ }
    if (form == "csv") line($2, $3, $4, $5, $6, ratio, $7, met)
    else line($2, $3, cell($4), cell($5), $6, ratio == "" ? "-" : ratio, $7 == "" ? "-" : sprintf("%.2f", $7), met)
}
END { if (form == "text") printf "%d floors met, %d missed, %d not measured\n", kept, missed, open }
