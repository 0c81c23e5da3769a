# rrdtool.sh: a round robin database of made values, drawn as graphs: text goes through fontconfig.
set -e
start=1000000000
rrdtool create load.rrd --start $start --step 60 DS:a:GAUGE:120:0:U DS:b:GAUGE:120:0:U \
    RRA:AVERAGE:0.5:1:2000 RRA:MAX:0.5:10:500
i=1
set --
while [ $i -le 600 ]; do
    set -- "$@" $((start + i * 60)):$((i * 37 % 101)):$((i * i % 89))
    i=$((i + 1))
done
rrdtool update load.rrd "$@"
for size in 300 400 500 600 700 800; do
    rrdtool graph graph.png --start $start --end $((start + 36000)) --width $size --height 200 \
        --title "Load of width $size" --vertical-label "requests" \
        DEF:a=load.rrd:a:AVERAGE DEF:b=load.rrd:b:AVERAGE CDEF:sum=a,b,+ VDEF:top=sum,MAXIMUM \
        AREA:a#3050c0:first LINE2:b#c03030:second LINE1:sum#000000:both \
        GPRINT:top:"highest %6.2lf%s" COMMENT:"some text in it\n"
    md5sum < graph.png
done
rrdtool xport --start $start --end $((start + 6000)) DEF:a=load.rrd:a:AVERAGE XPORT:a:one | md5sum
rrdtool fetch load.rrd AVERAGE --start $start --end $((start + 6000)) | tail -3
